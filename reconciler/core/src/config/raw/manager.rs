//! The manager's own configuration, `/etc/holdfast/manager.yaml`.

use super::check::Argv;
use super::leaf::{Account, EmailAddress, HostKey, LocalPath, LoopbackAddress, RefPattern, Scalar, SinkName};
use super::notices::ManagerNotice;
use crate::config::decode::{Must, Named, Whole, record};
use crate::config::place::At;
use crate::id::EnvironmentName;
use crate::time::Millis;

record!(
    /// `/etc/holdfast/manager.yaml`: what the management box trusts and uses. It lies outside the repository, so that no commit can
    /// change it.
    Manager, "the manager's configuration", {
    /// The repository: an absolute path, `file://`, `ssh://`, `user@host:path` or `https://`.
    repository: Must<At<Scalar>>,
    /// Where the mirror, the store and the journals live. Default: `/var/lib/holdfast-manager`.
    state_dir: Option<LocalPath>,
    /// Where sockets live while the daemon runs. Default: `/run/holdfast-manager`.
    runtime_dir: Option<LocalPath>,
    /// Time between two looks at the repository. Default: `1m`.
    poll_interval: Option<At<Millis>>,
    /// How long one fetch may take. Default: `2m`.
    fetch_timeout: Option<At<Millis>>,
    /// The branch or tag that each environment follows, by name.
    environments: Must<Named<EnvironmentName, At<ManagerEnvironment>>>,
    /// The people who may approve plans: names on the management box, each with the e-mail addresses that person commits with. An
    /// empty list says that the person never commits.
    approvers: Option<Named<Account, Vec<EmailAddress>>>,
    /// An allowed signers file as `ssh-keygen` reads it: every commit that is applied must be signed by one of them. Default: none,
    /// and signatures are not looked at.
    allowed_signers: Option<LocalPath>,
    /// Files with age identities that decrypt secrets, in the order they are tried.
    age_key_files: Option<Vec<LocalPath>>,
    /// Where people are told what happens. Default: nowhere.
    notices: Option<Vec<At<ManagerNotice>>>,
    /// How the daemon tells its own state to Prometheus. Default: not at all.
    metrics: Option<ManagerMetrics>,
    /// How many environments the daemon changes at the same time, from the first image to the switch; further ones wait for their turn.
    /// Default: 4.
    rollouts: Option<Whole<1, 1_000>>,
    /// How long past syncs are remembered.
    history: Option<ManagerHistory>,
    /// How hosts and the repository are reached.
    ssh: Option<ManagerSsh>,
    /// How a repository at `https://` is reached.
    https: Option<ManagerHttps>,
    /// The folder with the archives of images that apps name. Default: `archives` in `state_dir`.
    archives: Option<LocalPath>,
    /// The host program to deliver instead of the one that came with this release.
    host_program: Option<LocalPath>,
    /// Whether a branch may move to a commit that does not follow the last one. Default: `false`.
    allow_non_fast_forward: Option<bool>,
});

record!(
    /// What one environment follows: `branch` or `tag`.
    ManagerEnvironment, "an environment's source", {
    /// A branch.
    branch: Option<At<RefPattern>>,
    /// A tag, or a pattern of which the highest version is taken, such as `v*`.
    tag: Option<At<RefPattern>>,
    /// Nothing is applied but what was approved: `holdfast approve`. Default: nobody is asked.
    approval: Option<At<ManagerApproval>>,
    /// Checks that have to be green for a commit before it is applied, in the order they are asked. Default: none.
    checks: Option<Vec<At<ManagerCheck>>>,
});

record!(
    /// A check of a commit: exactly one of `file` and `command`. `{commit}` and `{environment}` may stand in both.
    ManagerCheck, "a check", {
    /// Its name, for people.
    name: Must<SinkName>,
    /// A file with `{ "state": "success" }` that CI writes on the management box, such as `/var/lib/ci/{commit}.json`.
    file: Option<LocalPath>,
    /// Program and arguments that exit with 0 when the commit is good. There is no shell.
    command: Option<Argv>,
    /// How long the command may take. Default: `10m`.
    timeout: Option<At<Millis>>,
});

record!(
    /// Who must agree to a plan before it is applied. The author of a commit never counts for it.
    ManagerApproval, "`approval`", {
    /// How many different people. Default: 1.
    required: Option<Whole<1, 100>>,
    /// Who may, of the `approvers`. Default: all of them.
    by: Option<Vec<At<Account>>>,
});

record!(
    /// How the daemon tells its own state to Prometheus.
    ManagerMetrics, "`metrics`", {
    /// Where it listens for `GET /metrics`: an address of this machine alone, such as `127.0.0.1:9464`.
    listen: Must<LoopbackAddress>,
});

record!(
    /// How long past syncs are remembered: one is forgotten when it is older than `age` and not among the last `at_least`.
    ManagerHistory, "`history`", {
    /// Time that all are kept. Default: `90d`.
    age: Option<At<Millis>>,
    /// How many of each environment are kept whatever their age. Default: 200.
    at_least: Option<Whole<1, 1_000_000>>,
});

record!(
    /// How hosts and the repository are reached.
    ManagerSsh, "`ssh`", {
    /// An `ssh_config` instead of the user's own.
    config_file: Option<LocalPath>,
    /// Time for a connection to come up. Default: `10s`.
    connect_timeout: Option<At<Millis>>,
    /// A private key to offer before those of the configuration.
    identity: Option<LocalPath>,
    /// The host key of the machine that a repository at `ssh://` is on, as the inventory has those of hosts: `ssh-ed25519 AAAA…`.
    /// Default: what `known_hosts` says.
    repository_host_key: Option<At<HostKey>>,
});

record!(
    /// How a repository at `https://` is reached. A login stands in its address: `https://bot@git.example.net/team/ops.git`.
    ManagerHttps, "`https`", {
    /// Certificates of the authorities that are trusted, in PEM, instead of the machine's own.
    ca_file: Option<LocalPath>,
    /// A file that holds nothing but a token or password, read at each fetch; nobody but its owner may read it. Default: git's
    /// credential helpers.
    token_file: Option<LocalPath>,
});
