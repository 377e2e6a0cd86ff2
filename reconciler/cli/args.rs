//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Makes plain hosts hold fast to what git says.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, max_term_width = 100, disable_help_subcommand = true, after_help = TOP_EXAMPLES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Options every verb takes.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options every verb takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// The management box's own configuration.
    #[arg(long, global = true, env = "HOLDFAST_CONFIG", value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// The repository to read; without it the one in the configuration, or the one around the current folder.
    #[arg(short = 'C', long, global = true, value_name = "PATH|URL", help_heading = "Global options")]
    pub(crate) repository: Option<String>,
    /// When to use colour. `NO_COLOR` is honoured.
    #[arg(long, global = true, value_enum, default_value_t = ColorWhen::Auto, help_heading = "Global options")]
    pub(crate) color: ColorWhen,
    /// Say more on standard error (-v, -vv).
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    pub(crate) verbose: u8,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

const TOP_EXAMPLES: &str = "\
Examples:
  holdfast init ops && cd ops        start a repository
  holdfast validate                  check every file of it
  holdfast plan prod                 what would change on the hosts of prod
  holdfast apply prod                change it
  holdfast rollback prod chatbot     go back to the release before
  holdfast daemon                    do all that by itself, on every push

Exit codes: 0 done, 1 failed, 2 changes (with --detailed-exitcode), 3 refused, 4 rolled back, 5 partial, 6 waits for approval, 7 closed by a window, 64 usage.";

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a repository with a small working example.
    Init(InitArgs),
    /// Check every file of a commit, and show all errors at once.
    Validate(ValidateArgs),
    /// Write the files that hosts would get into a folder.
    Render(RenderArgs),
    /// Compare two commits: offline, without keys and hosts.
    Diff(DiffArgs),
    /// Show what would change on the hosts.
    Plan(PlanArgs),
    /// Say why something would change: commit, file, line, field and rule.
    Explain(ExplainArgs),
    /// Change the hosts to what git says.
    Apply(ApplyArgs),
    /// Agree to the plan that waits, so that it is applied.
    Approve(ApproveArgs),
    /// Show what serves on each host, and whether it is what git says.
    Status(StatusArgs),
    /// Print this manager's state as metrics for Prometheus.
    Metrics(MetricsArgs),
    /// Show past syncs.
    History(HistoryArgs),
    /// Go back to the release before.
    Rollback(RollbackArgs),
    /// Restore a backup beside what is live.
    Restore(RestoreArgs),
    /// Copy good backups to their off-site hosts now.
    Offsite(OffsiteArgs),
    /// Hold a running rollout where it is; where none runs, let none begin by itself.
    ///
    /// During a rollout only that one is held: later ones begin as ever. `resume` or `promote` lets it go on.
    Pause(PauseArgs),
    /// Let what was paused go on.
    Resume(ControlArgs),
    /// End the pause or the watch window of a running rollout: it goes on to the next wave.
    ///
    /// What holds the present wave is over, a pause as well as the watch windows that are open. In the window of the canary it also answers
    /// the pause behind it; later waves have windows of their own. Where nothing is paused and no window is open, nothing changes and the
    /// exit code is 3.
    Promote(ControlArgs),
    /// Send a running rollout back.
    ///
    /// Every host on which the old release has not been cleared away serves it again, and the new one is quarantined: it is not tried
    /// again until its content changes, or `unlock` lifts that.
    Abort(ControlArgs),
    /// Show or remove a lock, or lift a quarantine.
    Unlock(UnlockArgs),
    /// Watch the repository and keep the hosts as it says.
    Daemon(DaemonArgs),
    /// Show how notices stand, or send a trial.
    Notices(NoticesArgs),
    /// Stream rollouts into the terminal of whoever pushes.
    Hook(HookArgs),
    /// Check the management box, and hosts, and say what to do.
    Doctor(DoctorArgs),
    /// Print the JSON Schema of a file or of an output.
    Schema(SchemaArgs),
    /// Print shell completions.
    Completions(CompletionsArgs),
    /// Encrypt values for a repository.
    Secrets(SecretsArgs),
    /// Show the whole story on a fleet.
    Demo(DemoArgs),
}

/// Which commit.
#[derive(Debug, Clone, Args)]
pub(crate) struct RevisionArgs {
    /// Commit, branch or tag. Without it: what the configuration says for the environment, else HEAD.
    #[arg(long, value_name = "REV")]
    pub(crate) revision: Option<String>,
}

/// How to print data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs; the schema is versioned.
    Json,
    /// For a pull request.
    Markdown,
}

/// How to print a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlanFormat {
    /// For people.
    Text,
    /// For programs; the schema is versioned.
    Json,
    /// For a pull request.
    Markdown,
    /// One page that loads nothing, for a browser.
    Html,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast init\n  holdfast init ops")]
pub(crate) struct InitArgs {
    /// Folder; made when it is not there. Existing files are never overwritten.
    #[arg(default_value = ".")]
    pub(crate) folder: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast validate\n  holdfast validate --revision main --json")]
pub(crate) struct ValidateArgs {
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
    /// Print findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast render prod --out rendered/\n  holdfast render prod --host web1 --out /tmp/web1"
)]
pub(crate) struct RenderArgs {
    /// Environment.
    pub(crate) environment: String,
    /// Folder to write to: `HOST/path/on/host`. It must be empty or not exist.
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Only this host.
    #[arg(long)]
    pub(crate) host: Option<String>,
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast diff main..feature\n  holdfast diff HEAD~1..HEAD --format markdown")]
pub(crate) struct DiffArgs {
    /// Two commits as `BASE..HEAD`.
    pub(crate) range: String,
    /// Only this environment.
    #[arg(long, short)]
    pub(crate) environment: Option<String>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Exit with 2 when something differs.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast plan prod\n  holdfast plan prod --out prod.plan && holdfast apply prod --plan prod.plan\n  \
                  holdfast plan prod --format html > plan.html\n\nExit codes: 0; with --detailed-exitcode 0 nothing to do, 1 error, 2 changes."
)]
pub(crate) struct PlanArgs {
    /// Environment.
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
    /// Save the plan; `apply --plan` then does exactly this or refuses.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text)]
    pub(crate) format: PlanFormat,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Exit with 2 when there are changes.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Plan a prune that is over the environment's limit.
    #[arg(long)]
    pub(crate) allow_prune: bool,
    /// Take over files that stand in our place with other content.
    #[arg(long)]
    pub(crate) adopt: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast explain prod\n  holdfast explain prod /etc/nginx/conf.d/holdfast-prod-chatbot-edge.conf"
)]
pub(crate) struct ExplainArgs {
    /// Environment.
    pub(crate) environment: String,
    /// Part of the name of what to explain: a path, a unit, a service, a host. Without it: all changes.
    pub(crate) what: Option<String>,
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast apply prod\n  holdfast apply prod --plan prod.plan\n  holdfast apply prod --yes --json\n\n\
                  Exit codes: 0 done, 1 failed, 3 refused (blocked, stale plan, locked), 4 rolled back, 5 partial, 6 waits for approval, 7 closed by a window."
)]
pub(crate) struct ApplyArgs {
    /// Environment.
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
    /// Apply this saved plan, and refuse when anything moved since: the commit that is followed, a file of it, or a host.
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Do not ask. Needed where standard input is no terminal.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Only this app.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Allow a prune that is over the environment's limit.
    #[arg(long)]
    pub(crate) allow_prune: bool,
    /// Take over files that stand in our place with other content.
    #[arg(long)]
    pub(crate) adopt: bool,
    /// Go on where the environment's windows are closed. Who did it, and why, is kept in the history.
    #[arg(long, requires = "reason")]
    pub(crate) override_window: bool,
    /// Why a window is overridden.
    #[arg(long, value_name = "TEXT", requires = "override_window", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: Option<String>,
    /// Print events as JSON lines instead of progress.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast approve production 3f9a1c22b07e\n  sudo holdfast approve production 3f9a1c22b07e --as ada\n\n\
                  The word counts for exactly this plan: its environment, its commit and what\n\
                  hosts were like. When any of it moves, it is void, and a new plan waits.\n\
                  Who approves is the account that calls; it must be one of the environment's\n\
                  approvers in the manager's configuration, and not the author of the commit.\n\n\
                  Exit codes: 0 taken, 1 failed, 3 refused."
)]
pub(crate) struct ApproveArgs {
    /// Environment.
    pub(crate) environment: String,
    /// The plan's seal as `plan` and `status` show it: its first twelve digits or more.
    pub(crate) seal: String,
    /// In whose name: for root alone, who speaks for somebody. The history keeps both.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Print what was approved, by whom, and what follows, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast status\n  holdfast status prod --json\n  holdfast status --detailed-exitcode >/dev/null || page-somebody"
)]
pub(crate) struct StatusArgs {
    /// Environment; without it, all.
    pub(crate) environment: Option<String>,
    /// Exit with 2 when an app is not as git says, or not well.
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast metrics >holdfast.prom.new && mv holdfast.prom.new holdfast.prom\n\nThe daemon serves the same \
over HTTP where the manager's configuration says `metrics: { listen: 127.0.0.1:9464 }`."
)]
pub(crate) struct MetricsArgs {}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast history prod\n  holdfast history prod --sync 12 --json\n  holdfast history --verify"
)]
pub(crate) struct HistoryArgs {
    /// Environment; without it, all.
    pub(crate) environment: Option<String>,
    /// Show all events of one sync.
    #[arg(long, value_name = "ID")]
    pub(crate) sync: Option<i64>,
    /// Look whether the history was altered: each entry carries the hash of the one before.
    #[arg(long, conflicts_with_all = ["sync", "json", "environment"])]
    pub(crate) verify: bool,
    /// A head of the history that was kept elsewhere, which it must have had.
    #[arg(long, value_name = "HASH", requires = "verify")]
    pub(crate) head: Option<String>,
    /// How many syncs.
    #[arg(long, short = 'n', default_value_t = 20)]
    pub(crate) limit: u32,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast rollback prod chatbot\n\nThe release that is left is quarantined until its content changes in git."
)]
pub(crate) struct RollbackArgs {
    /// Environment.
    pub(crate) environment: String,
    /// App; may be left out when the environment has one.
    pub(crate) app: Option<String>,
    /// The release to go back to, one after another. Default: the one before.
    #[arg(long, value_name = "RELEASE")]
    pub(crate) to: Option<String>,
    /// Take the schema back too, to the revision from before: nobody is served meanwhile.
    ///
    /// Without it the data is left alone, and a release that the one before does not work with is not gone back from.
    #[arg(long)]
    pub(crate) downgrade: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print events as JSON lines instead of progress.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast restore prod shop database\n  \
                  holdfast restore prod shop database --from database-20261121T020000Z.dump --yes\n\n\
                  What is there now is backed up first. The backup is restored into a new\n\
                  place and counted, then takes the old one's, which is kept beside it.")]
pub(crate) struct RestoreArgs {
    /// Environment.
    pub(crate) environment: String,
    /// App.
    pub(crate) app: String,
    /// The name of its backups.
    pub(crate) class: String,
    /// The backup's file name, as on the host. Default: the newest good one.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<String>,
    /// Take the copy on the off-site host, as when the host itself was lost.
    #[arg(long)]
    pub(crate) offsite: bool,
    /// With --offsite: the host it was taken on, where that was another one.
    #[arg(long, value_name = "HOST", requires = "offsite")]
    pub(crate) taken_on: Option<String>,
    /// With --offsite: a file with an age identity that can read the copy. Default: the manager's own.
    #[arg(long, value_name = "FILE", requires = "offsite")]
    pub(crate) identity: Option<PathBuf>,
    /// List what can be restored, and restore nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// The host, where the app keeps its data on several.
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Go on where what is there now cannot be backed up.
    #[arg(long)]
    pub(crate) without_safety_backup: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast offsite prod\n  holdfast offsite prod shop --json\n\n\
                  The daemon does this by itself every five minutes. Exit status 1 where\n\
                  a copy failed.")]
pub(crate) struct OffsiteArgs {
    /// Environment.
    pub(crate) environment: String,
    /// App. Default: all.
    pub(crate) app: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast pause prod\n  holdfast pause prod chatbot --reason 'database work until noon'\n\n\
                  A held rollout stays where it is, but a host that has not switched\n\
                  abandons after the environment's `ready_deadline`. Where none runs, the\n\
                  pause is remembered: the daemon starts no sync of the environment, or\n\
                  leaves that app out of every one, until `holdfast resume`.\n\
                  `holdfast apply --app` does what it is told."
)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) what: ControlArgs,
    /// Why, for others.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast promote prod\n  holdfast abort prod chatbot\n  holdfast resume prod")]
pub(crate) struct ControlArgs {
    /// Environment.
    pub(crate) environment: String,
    /// App; without it, whichever rolls out now.
    pub(crate) app: Option<String>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast unlock prod                 show the lock and the quarantine\n  holdfast unlock prod --lock 7f3a      remove that lock\n  holdfast unlock prod --app chatbot    try a quarantined release again"
)]
pub(crate) struct UnlockArgs {
    /// Environment.
    pub(crate) environment: String,
    /// The id of the lock to remove: it is shown when something is refused for it.
    #[arg(long, value_name = "ID")]
    pub(crate) lock: Option<String>,
    /// The app whose quarantine is to be lifted.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Print the lock and the quarantine as JSON.
    #[arg(long, conflicts_with_all = ["lock", "app"])]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast daemon --config /etc/holdfast/manager.yaml\n\nSIGHUP looks at the repository at once; SIGTERM hands over and ends."
)]
pub(crate) struct DaemonArgs {}

/// What to do with the hook.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast hook install /srv/git/ops.git")]
pub(crate) struct HookArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: HookVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HookVerb {
    /// Write the post-receive hook into a bare repository.
    #[command(after_help = "Examples:\n  holdfast --config /etc/holdfast/manager.yaml hook install /srv/git/ops.git")]
    Install {
        /// The bare repository that is pushed to.
        #[arg(id = "bare", value_name = "REPOSITORY")]
        repository: PathBuf,
    },
    /// What the hook calls: tells the daemon, and shows the rollout until it ends.
    #[command(
        after_help = "Examples:\n  echo OLD NEW refs/heads/main | holdfast hook receive    what git does after a push"
    )]
    Receive,
}

/// What to do about notices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast notices list\n  holdfast notices test team")]
pub(crate) struct NoticesArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: NoticesVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NoticesVerb {
    /// Show each place, and what was delivered, waits, or was given up.
    #[command(after_help = "Examples:\n  holdfast notices list --json")]
    List {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Send a trial to one place, now, and say whether it arrived.
    #[command(after_help = "Examples:\n  holdfast notices test team")]
    Test {
        /// Name of the place in the manager's configuration.
        name: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast doctor\n  holdfast doctor --host web1 --host web2")]
pub(crate) struct DoctorArgs {
    /// Check this host too; may be given several times. `all` means every host.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Vec<String>,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast schema app > app.schema.json\n  holdfast schema --out docs/reference/schema"
)]
pub(crate) struct SchemaArgs {
    /// A file: holdfast, inventory, environment, app or manager. What `--json` prints: plan, explain, diff, status, history, validate,
    /// doctor, unlock, approve; event and report of apply and rollback.
    #[arg(required_unless_present = "out")]
    pub(crate) kind: Option<String>,
    /// Write all of them into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  holdfast completions bash > /etc/bash_completion.d/holdfast")]
pub(crate) struct CompletionsArgs {
    /// Shell.
    pub(crate) shell: Shell,
}

/// What to do with secrets.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast secrets keygen age.key\n  holdfast secrets encrypt --recipient age1… < plain.yaml > environments/prod/secrets.sops.yaml\n  holdfast secrets generate prod\n  holdfast secrets rotate prod jwt_key\n  holdfast secrets list prod"
)]
pub(crate) struct SecretsArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: SecretsVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretsVerb {
    /// Make an age key: the secret part into a 0600 file, the recipient to standard output.
    #[command(after_help = "Examples:\n  holdfast secrets keygen /etc/holdfast/age.key")]
    Keygen {
        /// File to write; must not exist.
        file: PathBuf,
    },
    /// Encrypt a plain YAML file from standard input as SOPS for age recipients, to standard output.
    #[command(
        after_help = "Examples:\n  holdfast secrets encrypt --recipient age1… < plain.yaml > environments/prod/secrets.sops.yaml"
    )]
    Encrypt {
        /// Recipient (`age1…`); may be given several times.
        #[arg(long, required = true)]
        recipient: Vec<String>,
    },
    /// Make the values that an environment declares under `generate` and that have none yet, in the work tree. Commit them.
    #[command(after_help = "Examples:\n  holdfast secrets generate prod\n  holdfast secrets generate prod jwt_key")]
    Generate(MakeSecretsArgs),
    /// Make generated values anew, in the work tree. Commit them: only what uses them is restarted.
    #[command(after_help = "Examples:\n  holdfast secrets rotate prod jwt_key")]
    Rotate(RotateSecretsArgs),
    /// Show the secrets of an environment: their form, fingerprint and who uses them, never a value.
    #[command(after_help = "Examples:\n  holdfast secrets list prod\n  holdfast secrets list prod --json")]
    List(SecretsListArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MakeSecretsArgs {
    /// Environment.
    pub(crate) environment: String,
    /// Names. Without them: all that are declared.
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RotateSecretsArgs {
    /// Environment.
    pub(crate) environment: String,
    /// Names.
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SecretsListArgs {
    /// Environment.
    pub(crate) environment: String,
    #[command(flatten)]
    pub(crate) revision: RevisionArgs,
    /// Print it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  holdfast demo --simulated\n\nThe demo on real hosts is `./demo` in the project's repository."
)]
pub(crate) struct DemoArgs {
    /// On an embedded, simulated fleet: no root, no hosts, nothing is changed on this machine.
    #[arg(long, required = true)]
    pub(crate) simulated: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        // Global options share one space of names with those of every verb.
        for line in [
            "holdfast hook install /srv/ops.git",
            "holdfast -C . plan prod --revision main --out x --json",
            "holdfast apply prod --plan x --yes --app chatbot",
            "holdfast secrets encrypt --recipient age1x",
            "holdfast schema --out x",
            "holdfast unlock prod --lock x",
            "holdfast history prod --sync 1 -n 3 --json",
            "holdfast unlock prod --json",
            "holdfast plan prod --format html",
            "holdfast approve prod 3f9a1c22b07e --as ada --json",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
