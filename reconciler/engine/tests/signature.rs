//! Signed commits, made with the real git and ssh-keygen.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holdfast_core::id::CommitId;
use holdfast_engine::git::{FetchOptions, GitRepository, Location, SignatureError, Signers};

/// A bare repository, keys, and the signers it allows.
struct Signed {
    folder: tempfile::TempDir,
}

impl Signed {
    /// `None`, said past the capture of test output, where there is no `ssh-keygen`.
    fn new(test: &str) -> Option<Self> {
        let signed = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["friend", "stranger"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(signed.path(name));
            if let Err(error) = keygen.status() {
                let _ = writeln!(std::io::stderr(), "SKIPPED 1 test: {test}: ssh-keygen: {error}");
                return None;
            }
        }
        signed.git(&["init", "-q", "--bare", "-b", "main", "ops.git"], b"");
        signed.allow("");
        Some(signed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Allows the friend, with these options.
    fn allow(&self, options: &str) {
        let key = fs::read_to_string(self.path("friend.pub")).unwrap();
        fs::write(self.path("allowed"), format!("friend@example.net {options} {key}")).unwrap();
    }

    fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.folder.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").args(arguments);
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "A").env(format!("GIT_{who}_EMAIL"), "a@example.net");
        }
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A commit of an empty tree, signed by this key.
    fn commit(&self, message: &str, parents: &[&CommitId], key: Option<&str>) -> CommitId {
        let tree = self.git(&["-C", "ops.git", "hash-object", "-w", "-t", "tree", "--stdin"], b"");
        let key = key.map(|key| format!("user.signingkey={}", self.path(key).display()));
        let mut arguments = vec!["-C", "ops.git", "-c", "gpg.format=ssh"];
        arguments.extend(key.iter().flat_map(|key| ["-c", key.as_str()]));
        arguments.extend(["commit-tree", &tree, "-m", message]);
        arguments.extend(parents.iter().flat_map(|parent| ["-p", parent.as_str()]));
        arguments.extend(key.iter().map(|_| "-S"));
        self.git(&arguments, b"").parse().unwrap()
    }

    /// The same commit with something replaced in its text, and its signature kept.
    fn forge(&self, commit: &CommitId, from: &str, to: &str) -> CommitId {
        let text = self.git(&["-C", "ops.git", "cat-file", "commit", commit.as_str()], b"") + "\n";
        assert!(text.contains(from), "{text}");
        let text = text.replace(from, to);
        let arguments = ["-C", "ops.git", "hash-object", "-w", "-t", "commit", "--stdin"];
        self.git(&arguments, text.as_bytes()).parse().unwrap()
    }

    async fn verify(&self, last: Option<&CommitId>, new: &CommitId) -> Result<(), SignatureError> {
        let location = Location::Local(self.path("ops.git"));
        let git = GitRepository::new(location, Path::new("/nonexistent"), FetchOptions::default());
        let signers =
            Signers { file: self.path("allowed"), scratch: self.path("scratch"), program: "ssh-keygen".into() };
        let verified = git.verify(&signers, last, new).await;
        let left = fs::read_dir(self.path("scratch")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "no signature is left lying about");
        verified
    }
}

#[tokio::test]
async fn every_commit_of_the_range_is_signed_by_an_allowed_signer() {
    let Some(repo) = Signed::new("every_commit_of_the_range_is_signed_by_an_allowed_signer") else { return };
    let old = repo.commit("before anybody signed", &[], None);
    let one = repo.commit("one", &[&old], Some("friend"));
    let two = repo.commit("two", &[&one], Some("friend"));
    repo.verify(Some(&old), &two).await.unwrap();
    repo.verify(None, &two).await.unwrap();
    // What is not new is not asked about again.
    repo.verify(Some(&two), &old).await.unwrap();
    assert!(matches!(repo.verify(None, &old).await, Err(SignatureError::Unsigned { .. })));

    // One without a signature below one with it.
    let sneaked = repo.commit("sneaked in", &[&two], None);
    let above = repo.commit("above", &[&sneaked], Some("friend"));
    match repo.verify(Some(&two), &above).await {
        Err(SignatureError::Unsigned { commit }) => assert_eq!(commit, sneaked),
        other => panic!("{other:?}"),
    }
    // And beside it, brought in by a merge.
    let merge = repo.commit("merge", &[&two, &sneaked], Some("friend"));
    assert!(matches!(repo.verify(Some(&two), &merge).await, Err(SignatureError::Unsigned { .. })));
    // History that was rewritten away says nothing.
    let gone: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    repo.verify(Some(&gone), &two).await.unwrap();
}

#[tokio::test]
async fn other_signatures_are_refused() {
    let Some(repo) = Signed::new("other_signatures_are_refused") else { return };
    let first = repo.commit("first", &[], Some("friend"));
    let refused = async |commit: &CommitId| match repo.verify(Some(&first), commit).await {
        Err(SignatureError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let good = repo.commit("good", &[&first], Some("friend"));
    repo.verify(Some(&first), &good).await.unwrap();
    for (from, to) in [("good", "evil"), ("a@example.net", "b@example.net")] {
        let reason = refused(&repo.forge(&good, from, to)).await;
        assert!(reason.contains("incorrect signature") || reason.contains("Could not verify"), "{reason}");
    }
    let reason = refused(&repo.commit("by a stranger", &[&first], Some("stranger"))).await;
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    let pgp = repo.forge(&good, "BEGIN SSH SIGNATURE", "BEGIN PGP SIGNATURE");
    assert_eq!(refused(&pgp).await, "it is no SSH signature");

    // Allowed for something else, and no longer allowed.
    repo.allow("namespaces=\"file\"");
    refused(&good).await;
    repo.allow("valid-before=\"20200101\"");
    refused(&good).await;
    repo.allow("namespaces=\"git\"");
    repo.verify(Some(&first), &good).await.unwrap();

    for (mode, usable) in [(0o640, true), (0o660, false), (0o606, false)] {
        fs::set_permissions(repo.path("allowed"), fs::Permissions::from_mode(mode)).unwrap();
        let verified = repo.verify(Some(&first), &good).await;
        assert_eq!(verified.is_ok(), usable, "{mode:o}: {verified:?}");
    }
    fs::remove_file(repo.path("allowed")).unwrap();
    assert!(matches!(repo.verify(Some(&first), &good).await, Err(SignatureError::File { .. })));
}
