//! The command `tributary crds`: the custom resource definitions and their reference, written from the types.

mod reference;
mod schema;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use crate::api;

/// Command line of `tributary crds`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write one file for each kind into this folder; without it, all go to standard output
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Also write the reference (Markdown: one page for each kind, one for the conditions) into this folder
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
}

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
pub enum CrdsError {
    /// A file or standard output cannot be written.
    #[error("cannot write {what}: {source}")]
    Write {
        /// The file.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// A definition cannot be written as YAML; a fault of this program.
    #[error("{file} cannot be written as YAML: {message}")]
    Yaml {
        /// The definition's file name.
        file: &'static str,
        /// What the serialiser says.
        message: String,
    },
}

/// Writes what the command line asks for.
///
/// # Errors
/// When a file cannot be written.
pub fn run(args: &Args) -> Result<ExitCode, CrdsError> {
    for (file, crd) in api::crds() {
        let yaml = serde_yaml::to_string(&crd).map_err(|e| CrdsError::Yaml {
            file,
            message: e.to_string(),
        })?;
        match &args.output {
            Some(dir) => write(
                dir,
                file,
                &format!("# Written by `make generate` from src/api. Do not edit.\n{yaml}"),
            )?,
            None => print(&format!("---\n{yaml}"))?,
        }
    }
    if let Some(dir) = &args.reference {
        for (_, crd) in api::crds() {
            let (file, text) = reference::kind_page(&crd);
            write(dir, &file, &text)?;
        }
        write(dir, "conditions.md", &reference::conditions_page())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, file: &str, text: &str) -> Result<(), CrdsError> {
    let path = dir.join(file);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, text))
        .map_err(|source| CrdsError::Write {
            what: path.display().to_string(),
            source,
        })
}

fn print(text: &str) -> Result<(), CrdsError> {
    io::Write::write_all(&mut io::stdout(), text.as_bytes()).map_err(|source| CrdsError::Write {
        what: "standard output".into(),
        source,
    })
}
