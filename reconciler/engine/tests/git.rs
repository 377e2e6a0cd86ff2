//! Repositories built with the real git, also ones that no honest git would write.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_core::config::SourceTree;
use holdfast_core::id::CommitId;
use holdfast_engine::git::{FetchError, FetchOptions, GitRepository, Location, RevisionError, Track};

/// A bare repository in a folder that goes away.
struct Repo {
    folder: tempfile::TempDir,
}

impl Repo {
    fn new() -> Self {
        let repo = Self { folder: tempfile::tempdir().unwrap() };
        repo.git(&["init", "-q", "--bare", "-b", "main"], b"");
        repo
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn git(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "A"),
                ("GIT_AUTHOR_EMAIL", "a@example.net"),
                ("GIT_AUTHOR_DATE", "1767225600 +0000"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "A"),
                ("GIT_COMMITTER_EMAIL", "a@example.net"),
                ("GIT_COMMITTER_DATE", "1767225600 +0000"),
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn blob(&self, content: &[u8]) -> String {
        self.git(&["hash-object", "-w", "--stdin"], content)
    }

    /// Writes a tree byte by byte: git does not look at what is in it.
    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend((0..20).map(|at| u8::from_str_radix(&id[at * 2..at * 2 + 2], 16).unwrap()));
        }
        self.git(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &bytes)
    }

    fn commit(&self, tree: &str, parent: Option<&CommitId>) -> CommitId {
        let mut arguments = vec!["commit-tree", tree, "-m", "a change\n\nwith a body"];
        if let Some(parent) = parent {
            arguments.extend(["-p", parent.as_str()]);
        }
        self.git(&arguments, b"").parse().unwrap()
    }

    fn point(&self, reference: &str, commit: &CommitId) {
        self.git(&["update-ref", reference, commit.as_str()], b"");
    }

    /// A commit of these files, one level deep or in folders.
    fn commit_of(&self, files: &[(&str, &[u8])], parent: Option<&CommitId>) -> CommitId {
        let index = self.path().join("index-of-test");
        let lines: Vec<String> =
            files.iter().map(|(path, content)| format!("100644 {}\t{path}\n", self.blob(content))).collect();
        let _ = std::fs::remove_file(&index);
        let setting = format!("--git-dir={}", self.path().display());
        let mut child = Command::new("git")
            .args([&setting, "update-index", "--add", "--index-info"])
            .env("GIT_INDEX_FILE", &index)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.concat().as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let output = Command::new("git").args([&setting, "write-tree"]).env("GIT_INDEX_FILE", &index).output().unwrap();
        self.commit(String::from_utf8(output.stdout).unwrap().trim(), parent)
    }

    fn open(&self) -> GitRepository {
        GitRepository::new(Location::Local(self.path().to_owned()), Path::new("/nonexistent"), FetchOptions::default())
    }

    async fn read_tree(&self, tree: &str) -> SourceTree {
        let commit = self.commit(tree, None);
        self.open().read(&commit).await.unwrap()
    }
}

fn problems(tree: &SourceTree) -> Vec<(&str, &str)> {
    tree.problems.iter().map(|problem| (problem.path.as_str(), problem.code.as_str())).collect()
}

#[tokio::test]
async fn reads_what_matters_and_nothing_else() {
    let repo = Repo::new();
    let commit = repo.commit_of(
        &[
            ("holdfast.yaml", b"format: 1\n"),
            ("README.md", b"words"),
            ("app/main.py", b"code"),
            ("inventory/hosts.yaml", b"hosts:\n"),
            ("inventory/notes.txt", b"not read"),
            ("environments/prod/environment.yaml", b"hosts: [a]\n"),
            ("templates/compose/web.yaml.j2", b"services:\n"),
        ],
        None,
    );
    repo.point("refs/heads/main", &commit);
    let git = repo.open();
    let tree = git.read(&commit).await.unwrap();
    let paths: Vec<&str> = tree.files.keys().map(String::as_str).collect();
    let want = [
        "environments/prod/environment.yaml",
        "holdfast.yaml",
        "inventory/hosts.yaml",
        "templates/compose/web.yaml.j2",
    ];
    assert_eq!(paths, want);
    assert_eq!(tree.files["holdfast.yaml"], b"format: 1\n");
    assert_eq!(problems(&tree), []);
    let info = git.describe(&commit).await.unwrap();
    assert_eq!((info.subject.as_str(), info.author.as_str(), info.at.0), ("a change", "A", 1_767_225_600_000));
}

#[tokio::test]
async fn refuses_links_submodules_and_names_that_no_honest_git_writes() {
    let repo = Repo::new();
    let file = repo.blob(b"hosts: {}\n");
    let target = repo.blob(b"/etc/passwd");
    let commit = repo.commit_of(&[("a", b"x")], None);
    let long = "n".repeat(256);
    let inventory = repo.tree(&[
        ("100644", b"ok.yaml", &file),
        ("120000", b"link.yaml", &target),
        ("160000", b"module", commit.as_str()),
        ("100644", b"..", &file),
        ("40000", b"..", &repo.tree(&[("100644", b"x.yaml", &file)])),
        ("100644", b".", &file),
        ("100644", b".git", &file),
        ("100644", b".GIT.", &file),
        ("100644", b"git~1", &file),
        ("100644", b"", &file),
        ("100644", b"a/b.yaml", &file),
        ("100644", b"a\\b.yaml", &file),
        ("100644", b"a\nb.yaml", &file),
        ("100644", b"a\xff.yaml", &file),
        ("100644", "a\u{202e}.yaml".as_bytes(), &file),
        ("100644", long.as_bytes(), &file),
        ("100644", b"ok.yaml", &file),
        ("10644", b"fifo.yaml", &file),
        ("100644", b"tree-as-file.yaml", &repo.tree(&[])),
        ("100644", b"gone.yaml", "1111111111111111111111111111111111111111"),
    ]);
    let root = repo.tree(&[
        ("40000", b"inventory", &inventory),
        ("120000", b"templates", &target),
        ("160000", b"other", commit.as_str()),
    ]);
    let tree = repo.read_tree(&root).await;
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["inventory/ok.yaml"], "only the honest file is read");
    let shown: Vec<String> = tree.problems.iter().map(|p| format!("{} {}: {}", p.code, p.path, p.message)).collect();
    insta::assert_snapshot!(shown.join("\n").replace(&long, "<256 n>"));
}

#[tokio::test]
async fn a_link_that_takes_a_folders_place_at_a_later_commit_is_refused() {
    let repo = Repo::new();
    let first = repo.commit_of(&[("holdfast.yaml", b"format: 1\n"), ("inventory/a.yaml", b"hosts:\n")], None);
    let link = repo.blob(b"../../etc");
    let root = repo.tree(&[("120000", b"holdfast.yaml", &link), ("120000", b"inventory", &link)]);
    let second = repo.commit(&root, Some(&first));
    let git = repo.open();
    assert_eq!(problems(&git.read(&first).await.unwrap()), []);
    let tree = git.read(&second).await.unwrap();
    assert_eq!(problems(&tree), [("holdfast.yaml", "symlink"), ("inventory", "symlink")]);
    assert!(tree.files.is_empty());
}

#[tokio::test]
async fn trees_that_would_never_end_are_cut_in_time() {
    let repo = Repo::new();
    let file = repo.blob(b"a: b\n");
    let began = Instant::now();

    // A tree of trees of trees: a few KiB that stand for 16^12 files.
    let mut bomb = repo.tree(&[("100644", b"x.yaml", &file)]);
    let names: Vec<String> = (0..16).map(|index| format!("{index:02}")).collect();
    for _ in 0..12 {
        let entries: Vec<(&str, &[u8], &str)> =
            names.iter().map(|name| ("40000", name.as_bytes(), bomb.as_str())).collect();
        bomb = repo.tree(&entries);
    }
    let tree = repo.read_tree(&repo.tree(&[("40000", b"templates", &bomb)])).await;
    assert!(problems(&tree).iter().any(|(_, code)| *code == "too-many"), "{:?}", problems(&tree));

    // Folders in folders.
    let mut deep = repo.tree(&[("100644", b"x.yaml", &file)]);
    for _ in 0..60 {
        deep = repo.tree(&[("40000", b"d", &deep)]);
    }
    let tree = repo.read_tree(&repo.tree(&[("40000", b"inventory", &deep)])).await;
    assert!(problems(&tree).iter().any(|(_, code)| *code == "too-deep"), "{:?}", problems(&tree));

    // A tree object of a million entries is not even read.
    let id = [0x11; 20];
    let mut wide = Vec::new();
    for index in 0..1_000_000 {
        wide.extend_from_slice(format!("100644 {index:07}.yaml\0").as_bytes());
        wide.extend_from_slice(&id);
    }
    let wide = repo.git(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], &wide);
    let tree = repo.read_tree(&repo.tree(&[("40000", b"environments", &wide)])).await;
    assert_eq!(problems(&tree), [("environments", "too-large")]);

    // A hundred megabytes of one file.
    let large = repo.blob(&vec![b'a'; 100 << 20]);
    let tree = repo.read_tree(&repo.tree(&[("100644", b"holdfast.yaml", &large)])).await;
    assert_eq!(problems(&tree), [("holdfast.yaml", "too-large")]);
    assert!(tree.files.is_empty());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_damaged_tree_is_named() {
    let repo = Repo::new();
    let bytes: [&[u8]; 4] =
        [b"100644 x", b"garbage without any sense", b"100644 a\0short", b"999999 a\0aaaaaaaaaaaaaaaaaaaa"];
    for bytes in bytes {
        let bad = repo.git(&["hash-object", "-w", "-t", "tree", "--literally", "--stdin"], bytes);
        let tree = repo.read_tree(&repo.tree(&[("40000", b"inventory", &bad)])).await;
        assert_eq!(problems(&tree), [("inventory", "bad-tree")], "{bytes:?}");
    }
    let missing: CommitId = "1111111111111111111111111111111111111111".parse().unwrap();
    assert!(repo.open().read(&missing).await.unwrap_err().to_string().contains("cannot be read"));
}

/// `holdfast -C .` in a linked work tree, where `.git` is a file.
#[tokio::test]
async fn a_linked_work_tree_is_read_at_its_own_head() {
    let repo = Repo::new();
    let first = repo.commit_of(&[("holdfast.yaml", b"format: 1\n")], None);
    let second = repo.commit_of(&[("holdfast.yaml", b"format: 1\n# two\n")], Some(&first));
    repo.point("refs/heads/main", &first);
    repo.point("refs/heads/topic", &second);
    let linked = tempfile::tempdir().unwrap();
    let path = linked.path().join("tree");
    repo.git(&["worktree", "add", "-q", path.to_str().unwrap(), "topic"], b"");
    let git = GitRepository::new(Location::Local(path), Path::new("/nonexistent"), FetchOptions::default());
    assert_eq!(git.resolve_word("HEAD").await.unwrap(), second);
    assert_eq!(git.resolve_word("main").await.unwrap(), first);
    assert!(git.read(&second).await.unwrap().files.contains_key("holdfast.yaml"));
}

#[tokio::test]
async fn cap_02_follows_branches_and_tags_and_sees_rewritten_history() {
    let repo = Repo::new();
    let first = repo.commit_of(&[("holdfast.yaml", b"format: 1\n")], None);
    let second = repo.commit_of(&[("holdfast.yaml", b"format: 1\n# two\n")], Some(&first));
    let other = repo.commit_of(&[("holdfast.yaml", b"format: 1\n# other\n")], Some(&first));
    repo.point("refs/heads/main", &second);
    repo.git(&["tag", "-a", "-m", "release", "v1.9.0", first.as_str()], b"");
    repo.git(&["tag", "v1.10.0", second.as_str()], b"");
    repo.git(&["tag", "v2.0.0-rc1", other.as_str()], b"");
    repo.git(&["pack-refs", "--all"], b"");
    let git = repo.open();
    let main = Track::Branch("main".to_owned());
    assert_eq!(git.resolve(&main).await.unwrap(), second);
    assert_eq!(git.resolve(&Track::Tag("v1.9.0".to_owned())).await.unwrap(), first, "an annotated tag is peeled");
    assert_eq!(git.resolve(&Track::Tag("v*".to_owned())).await.unwrap(), second);
    assert_eq!(git.resolve(&Track::Tag("v*-*".to_owned())).await.unwrap(), other);
    let error = git.resolve(&Track::Branch("mian".to_owned())).await.unwrap_err();
    assert_eq!(error.to_string(), "the repository has no branch mian; did you mean `main`?");
    for word in ["main", "v1.10.0", second.as_str(), &second.as_str()[..8], "HEAD"] {
        assert_eq!(git.resolve_word(word).await.unwrap(), second, "{word}");
    }
    for word in ["-x", "main..v1.10.0", "main@{1}", "refs/heads/main ", "", "--all", "ffffffff"] {
        assert!(matches!(git.resolve_word(word).await, Err(RevisionError::Unknown { .. })), "{word}");
    }

    assert_eq!(git.advance(&main, None, false).await.unwrap(), second);
    assert_eq!(git.advance(&main, Some(&first), false).await.unwrap(), second);
    assert_eq!(git.advance(&main, Some(&second), false).await.unwrap(), second);
    repo.point("refs/heads/main", &other);
    let error = git.advance(&main, Some(&second), false).await.unwrap_err();
    assert!(matches!(error, RevisionError::Rewound { .. }), "{error}");
    assert_eq!(git.advance(&main, Some(&second), true).await.unwrap(), other);
    let gone: CommitId = "1111111111111111111111111111111111111111".parse().unwrap();
    assert!(matches!(git.advance(&main, Some(&gone), false).await, Err(RevisionError::Rewound { .. })));
    assert!(git.is_descendant(&other, &first).await.unwrap());
    assert!(!git.is_descendant(&first, &other).await.unwrap());
}

/// A program in the place of ssh.
fn program(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("ssh");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn remote(path: &Path) -> Location {
    format!("ssh://git@git.example.net{}", path.display()).parse().unwrap()
}

#[tokio::test]
async fn cap_02_a_branch_moves_staging_and_a_tag_production_and_nothing_else_either() {
    let repo = Repo::new();
    let commit = |text: &str, parent: Option<&CommitId>| repo.commit_of(&[("holdfast.yaml", text.as_bytes())], parent);
    let first = commit("format: 1\n", None);
    repo.point("refs/heads/develop", &first);
    repo.point("refs/tags/v1.0.0", &first);
    let git = repo.open();
    let followed = || async {
        let staging = git.resolve(&Track::Branch("develop".to_owned())).await.unwrap();
        (staging, git.resolve(&Track::Tag("v*".to_owned())).await.unwrap())
    };
    assert_eq!(followed().await, (first.clone(), first.clone()));
    let second = commit("format: 1\n# two\n", Some(&first));
    repo.point("refs/heads/develop", &second);
    assert_eq!(followed().await, (second.clone(), first.clone()));
    let other = commit("format: 1\n# other\n", Some(&second));
    for reference in ["refs/heads/main", "refs/heads/v2", "refs/tags/nightly", "refs/tags/release-2"] {
        repo.point(reference, &other);
        assert_eq!(followed().await, (second.clone(), first.clone()), "{reference}");
    }
    repo.point("refs/tags/v1.1.0", &second);
    assert_eq!(followed().await, (second.clone(), second));
}

#[tokio::test]
async fn mirrors_a_remote_over_ssh_without_hooks() {
    let origin = Repo::new();
    let first = origin.commit_of(&[("holdfast.yaml", b"format: 1\n")], None);
    origin.point("refs/heads/main", &first);
    let state = tempfile::tempdir().unwrap();
    // The last argument is the command that git wants run on the host.
    let log = state.path().join("log");
    let ssh = program(
        state.path(),
        &format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >>{}\nfor last; do :; done\neval \"exec $last\"\n", log.display()),
    );
    let options = FetchOptions { ssh_program: ssh, ..FetchOptions::default() };
    let git = GitRepository::new(remote(origin.path()), state.path(), options);
    git.fetch().await.unwrap();
    let main = Track::Branch("main".to_owned());
    assert_eq!(git.resolve(&main).await.unwrap(), first);
    let mode = std::fs::metadata(git.git_dir()).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may read the mirror");

    let canary = state.path().join("canary");
    let hooks = git.git_dir().join("hooks");
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-update", "reference-transaction", "post-merge"] {
        let path = hooks.join(hook);
        std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", canary.display())).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let second = origin.commit_of(&[("holdfast.yaml", b"format: 1\n# two\n")], None);
    origin.point("refs/heads/main", &second);
    origin.point("refs/heads/next", &second);
    git.fetch().await.unwrap();
    assert_eq!(
        git.resolve(&main).await.unwrap(),
        second,
        "the mirror follows rewritten history; refusing it comes later"
    );
    origin.git(&["update-ref", "-d", "refs/heads/next"], b"");
    git.fetch().await.unwrap();
    assert!(git.resolve(&Track::Branch("next".to_owned())).await.is_err(), "a deleted branch is pruned");
    assert!(!canary.exists(), "a hook ran");
    let words = std::fs::read_to_string(log).unwrap();
    assert!(words.contains("StrictHostKeyChecking=yes\n") && words.contains("BatchMode=yes\n"), "{words}");
}

#[tokio::test]
async fn a_silent_server_is_cut_off_with_all_that_git_started() {
    let state = tempfile::tempdir().unwrap();
    let pids = state.path().join("pids");
    let ssh = program(state.path(), &format!("#!/bin/sh\nsleep 1000 &\necho $$ $! >>{}\nwait\n", pids.display()));
    let options = FetchOptions { ssh_program: ssh, timeout: Duration::from_secs(1), ..FetchOptions::default() };
    let git = GitRepository::new(remote(Path::new("/srv/x.git")), state.path(), options);
    let error = git.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::Timeout { .. }), "{error}");
    let pids = std::fs::read_to_string(pids).unwrap();
    let began = Instant::now();
    let running = |pid: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().next())
            .is_some_and(|state| state != "Z" && state != "X")
    };
    while pids.split_whitespace().any(running) {
        assert!(began.elapsed() < Duration::from_secs(10), "something git started is still there");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said() {
    let state = tempfile::tempdir().unwrap();
    let ssh = program(state.path(), "#!/bin/sh\nprintf 'Permission denied (publickey). \\033[2J\\n' >&2\nexit 255\n");
    let options = FetchOptions { ssh_program: ssh, ..FetchOptions::default() };
    let git = GitRepository::new(remote(Path::new("/srv/x.git")), state.path(), options);
    let error = git.fetch().await.unwrap_err().to_string();
    assert!(error.contains("ssh://git@git.example.net/srv/x.git failed"), "{error}");
    assert!(
        error.contains("Permission denied (publickey)")
            && error.contains("Could not read from remote repository")
            && !error.contains('\u{1b}'),
        "{error}"
    );
    let missing = FetchOptions { git_program: PathBuf::from("/nonexistent/git"), ..FetchOptions::default() };
    let git = GitRepository::new(remote(Path::new("/srv/x.git")), state.path(), missing);
    assert!(matches!(git.fetch().await, Err(FetchError::Start { .. })));
}

#[tokio::test]
async fn the_working_example_goes_from_a_commit_to_a_model() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    let mut open = ["holdfast.yaml", "inventory", "environments", "templates"].map(|part| root.join(part)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    let repo = Repo::new();
    let commit = repo.commit_of(&files, None);
    let tree = repo.open().read(&commit).await.unwrap();
    let (config, diagnostics) = holdfast_core::config::load(&tree);
    assert!(config.is_some(), "{diagnostics:?}");
    assert_eq!(tree.files.len(), files.len(), "every file of the example is read");
}
