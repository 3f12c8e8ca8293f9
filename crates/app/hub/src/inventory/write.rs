//! Identities as a file.

use portreeve_store::IdentityRow;
use portreeve_types::UnixMillis;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{COLUMNS, formula};

/// One identity, a text for each of [`COLUMNS`].
pub type Cells = [String; COLUMNS.len()];

/// What an export tells of an identity.
pub(super) fn cells(row: &IdentityRow, last_seen: Option<UnixMillis>) -> Cells {
    [
        row.name.to_string(),
        row.kind.to_string(),
        row.group.clone(),
        row.owner.clone(),
        row.location.clone(),
        row.model.clone(),
        row.firmware.clone(),
        row.notes.clone(),
        row.state.to_string(),
        row.id.to_string(),
        instant(row.created),
        last_seen.map(instant).unwrap_or_default(),
    ]
}

/// Empty where no calendar reaches.
fn instant(at: UnixMillis) -> String {
    let seconds = i64::try_from(at.seconds()).ok();
    let time = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

/// A header and a line each, quoted where RFC 4180 asks for it, and guarded against being taken for formulas.
///
/// # Errors
/// There is not enough memory.
pub fn write_csv(rows: &[Cells]) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: &mut dyn Iterator<Item = &str>| {
        let guarded: Vec<_> = cells.map(formula::guard).collect();
        writer.write_record(guarded.iter().map(|cell| cell.as_bytes()))
    };
    let written = write(&mut COLUMNS.into_iter())
        .and_then(|()| rows.iter().try_for_each(|row| write(&mut row.iter().map(String::as_str))));
    written.map_err(|error| error.to_string())?;
    let bytes = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// An array with an object a line, so that line-based tools and problems in it find their way.
#[must_use]
pub fn write_json(rows: &[Cells]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let object = |row: &Cells| {
        let pairs: Vec<_> = COLUMNS.iter().zip(row).map(|(key, text)| format!("\"{key}\":{}", quoted(text))).collect();
        format!("{{{}}}", pairs.join(","))
    };
    let objects: Vec<_> = rows.iter().map(object).collect();
    format!("[\n{}\n]\n", objects.join(",\n"))
}
