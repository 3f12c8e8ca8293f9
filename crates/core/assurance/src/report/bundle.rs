use std::collections::BTreeMap;

use super::{MANIFEST, Report, SIGNATURE, evidence_file, manifest::Manifest};
use crate::{Catalogue, Store};

/// A form that a report has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `report.json`: the report itself.
    Json,
    /// `report.html`: for people.
    Html,
    /// `report.csv`: for spreadsheets.
    Csv,
    /// `junit.xml`: for build servers.
    Junit,
    /// `report.sarif`: for code scanning.
    Sarif,
    /// `oscal-assessment-results.json`: for assessors' tools.
    Oscal,
}

impl Format {
    /// All.
    pub const ALL: [Self; 6] = [Self::Json, Self::Html, Self::Csv, Self::Junit, Self::Sarif, Self::Oscal];

    /// The file's name.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Json => "report.json",
            Self::Html => "report.html",
            Self::Csv => "report.csv",
            Self::Junit => "junit.xml",
            Self::Sarif => "report.sarif",
            Self::Oscal => "oscal-assessment-results.json",
        }
    }

    /// The file's bytes: always the same for the same report.
    #[must_use]
    pub fn render(self, report: &Report, catalogue: &Catalogue) -> Vec<u8> {
        match self {
            Self::Json => report.to_json(),
            Self::Html => super::html(report, catalogue),
            Self::Csv => super::csv(report, catalogue),
            Self::Junit => super::junit(report),
            Self::Sarif => super::sarif(report, catalogue),
            Self::Oscal => super::assessment_results(report, catalogue),
        }
    }
}

/// Why a report is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError<E> {
    /// The key did not sign.
    #[error("the report cannot be signed: {0}")]
    Sign(E),
    /// What signed is not the key that was named.
    #[error("the signature is not of the key that was named")]
    Signature,
}

/// Every file of a report by its name: its forms, `evidence/…`, the manifest and the signature on it.
///
/// # Errors
/// [`BundleError`].
pub fn bundle<E>(
    report: &Report,
    catalogue: &Catalogue,
    store: &Store,
    key: [u8; 32],
    sign: impl FnOnce(&[u8]) -> Result<[u8; 64], E>,
) -> Result<BTreeMap<String, Vec<u8>>, BundleError<E>> {
    let forms = Format::ALL.into_iter().map(|form| (form.file_name().to_owned(), form.render(report, catalogue)));
    let evidence = store.files().map(|(hash, bytes)| (evidence_file(&hash), bytes.to_vec()));
    let mut files: BTreeMap<String, Vec<u8>> = forms.chain(evidence).collect();
    let manifest = Manifest::of(&files, key);
    let bytes = manifest.to_json();
    let signature = sign(&bytes).map_err(BundleError::Sign)?;
    if !manifest.is_signed(&bytes, &signature) {
        return Err(BundleError::Signature);
    }
    files.insert(SIGNATURE.to_owned(), signature.to_vec());
    files.insert(MANIFEST.to_owned(), bytes);
    Ok(files)
}
