//! The generated references: each is a path and the text that belongs there.

use crate::{requirements, source::Tree};
use anyhow::{Context as _, Result};
use std::path::Path;

/// A file that is generated, committed, and checked by `tidy`.
pub(crate) struct Generated {
    pub(crate) path: &'static str,
    pub(crate) text: String,
}

/// Every generated file.
pub(crate) fn all(tree: &Tree) -> Result<Vec<Generated>> {
    Ok(vec![
        Generated { path: "docs/CONFIGURATION.md", text: portreeve_config::reference_markdown() },
        Generated { path: "docs/EVENTS.md", text: portreeve_events::reference_markdown() },
        Generated { path: "docs/DETECTION.md", text: portreeve_detect::reference_markdown() },
        Generated { path: "docs/REQUIREMENTS.md", text: requirements::markdown(tree)? },
    ])
}

/// Writes those that are not in step.
pub(crate) fn write(root: &Path) -> Result<()> {
    for generated in all(&Tree::read(root)?)? {
        let path = root.join(generated.path);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == generated.text) {
            continue;
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&path, generated.text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", generated.path);
    }
    Ok(())
}
