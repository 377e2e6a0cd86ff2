//! `holdfast secrets`: age keys, SOPS files for a repository, and the values in them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use holdfast_engine::secrets::seal;

use super::secret_files;
use crate::args::{Common, SecretsArgs, SecretsVerb};
use crate::error::{Error, OrHint};
use crate::exit::Exit;
use crate::output::Output;
use crate::setup::Setup;

/// The largest plain file that is encrypted.
const MAX_PLAIN: u64 = 1024 * 1024;

/// Makes a key, encrypts, makes values, or shows what there is.
pub(crate) async fn run(output: Output, common: &Common, arguments: &SecretsArgs) -> Result<Exit, Error> {
    match &arguments.verb {
        SecretsVerb::Keygen { file } => keygen(output, file),
        SecretsVerb::Encrypt { recipient } => encrypt(output, recipient),
        SecretsVerb::Generate(arguments) => secret_files::generate_missing(output, common, arguments).await,
        SecretsVerb::Rotate(arguments) => secret_files::rotate(output, common, arguments),
        SecretsVerb::List(arguments) => secret_files::list(&Setup::load(output, common)?, arguments).await,
    }
}

fn keygen(output: Output, path: &Path) -> Result<Exit, Error> {
    let identity = Identity::generate();
    let recipient = identity.to_public();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Error::user(format!("cannot make {}: {error}", path.display()), "an existing key is never overwritten")
    })?;
    // The form of age-keygen(1).
    writeln!(file, "# public key: {recipient}\n{}", identity.to_string().expose_secret())
        .or_hint("is the disk full?")?;
    file.sync_all().or_hint("is the disk full?")?;
    output.data(&recipient.to_string());
    Ok(Exit::Ok)
}

fn encrypt(output: Output, recipients: &[String]) -> Result<Exit, Error> {
    let recipients = recipients
        .iter()
        .map(|text| {
            text.parse::<Recipient>()
                .map_err(|error| Error::user(format!("`{text}` is no age recipient: {error}"), "it begins with age1"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut plain = String::new();
    std::io::stdin().take(MAX_PLAIN).read_to_string(&mut plain).or_hint("give it YAML in UTF-8")?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let sealed = seal(&plain, &recipients, &now, None).or_hint("")?;
    output.data(&sealed);
    Ok(Exit::Ok)
}
