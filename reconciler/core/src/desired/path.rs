//! Where things stand on a host.

use holdfast_protocol::Slot;

use crate::config::FileFormat;
use crate::id::{AppName, ComponentName, EnvironmentName};

/// Folder of everything Holdfast keeps for apps.
pub(super) const APPS: &str = "/var/lib/holdfast/apps";
/// Folder of units.
pub(super) const UNITS: &str = "/etc/systemd/system";
/// Folder of nginx files.
pub(super) const SITES: &str = "/etc/nginx/conf.d";

/// Whose place it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) environment: &'a EnvironmentName,
    pub(super) app: &'a AppName,
    pub(super) component: &'a ComponentName,
    pub(super) slot: Option<Slot>,
}

impl Place<'_> {
    /// Returns the folder of the component, or of its slot.
    pub(super) fn directory(self) -> String {
        let Self { environment, app, component, slot } = self;
        match slot {
            None => format!("{APPS}/{environment}/{app}/{component}"),
            Some(slot) => format!("{APPS}/{environment}/{app}/{component}/{slot}"),
        }
    }

    /// Returns the name of its compose project.
    pub(super) fn project(self) -> String {
        let Self { environment, app, component, slot } = self;
        match slot {
            None => format!("{environment}-{app}-{component}"),
            Some(slot) => format!("{environment}-{app}-{component}-{slot}"),
        }
    }

    /// Returns the path of its nginx file.
    pub(super) fn site(self) -> String {
        format!("{SITES}/holdfast-{}-{}-{}.conf", self.environment, self.app, self.component)
    }

    /// Puts names into a path as the user wrote it: `{{ slot }}`, `{{ dir }}`, `{{ env }}`, `{{ app }}`, `{{ component }}`.
    pub(super) fn fill(self, path: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once("{{") {
            out.push_str(before);
            let Some((name, after)) = after.split_once("}}") else { return Err("`{{` without `}}`".to_owned()) };
            match (name.trim(), self.slot) {
                ("slot", Some(slot)) => out.push_str(slot.as_str()),
                ("slot", None) => return Err("`slot` stands in it, but the component has no slots".to_owned()),
                ("dir", _) => out.push_str(&self.directory()),
                ("env", _) => out.push_str(self.environment.as_str()),
                ("app", _) => out.push_str(self.app.as_str()),
                ("component", _) => out.push_str(self.component.as_str()),
                (other, _) => return Err(format!("`{other}` stands in it; slot, dir, env, app and component can")),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Checks that a file may stand at a path.
    pub(super) fn check(self, path: &str, format: FileFormat) -> Result<(), String> {
        let characters = |c: char| c.is_ascii_alphanumeric() || "/._@+:,=-".contains(c);
        if !path.starts_with('/') {
            return Err("it is not absolute".to_owned());
        }
        if let Some(odd) = path.chars().find(|c| !characters(*c)) {
            return Err(format!("it has the character {odd:?}; letters, digits and / . _ @ + : , = - can be used"));
        }
        if path[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err("it has an empty, `.` or `..` part".to_owned());
        }
        if path.len() > 400 {
            return Err("it is longer than 400 characters".to_owned());
        }
        let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        if let Some(folder) =
            ["/proc", "/sys", "/dev", "/boot", "/run/holdfast"].into_iter().find(|folder| below(folder))
        {
            return Err(format!("nothing is written below {folder}"));
        }
        if below("/var/lib/holdfast") && !below(&self.directory()) {
            return Err("below /var/lib/holdfast a component has its own folder only: {{ dir }}".to_owned());
        }
        if below("/etc/nginx") && format != FileFormat::Nginx {
            return Err("files below /etc/nginx have `format: nginx`".to_owned());
        }
        if (below("/etc/systemd") || below("/run/systemd") || below("/usr/lib/systemd"))
            && format != FileFormat::Systemd
        {
            return Err("files of systemd have `format: systemd`".to_owned());
        }
        Ok(())
    }
}
