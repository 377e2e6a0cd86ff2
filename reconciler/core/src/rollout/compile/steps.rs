use std::collections::BTreeMap;

use holdfast_protocol::{Action, ActiveGoal, FilePut, FileRecord, HealthCheck, Step};

use super::deadline;
use super::place::Project;

/// Steps of one phase being written down in order.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    pub(super) fn push(&mut self, component: &str, what: &str, deadline_ms: u64, action: Action) {
        let title = if component.is_empty() { what.to_owned() } else { format!("{component}: {what}") };
        self.0.push(Step { title, component: component.to_owned(), deadline_ms, action });
    }

    pub(super) fn put(&mut self, component: &str, path: &str, file: &FileRecord) {
        self.push(component, &format!("put {path}"), deadline::QUICK_MS, Action::PutFile(file_put(path, file)));
    }

    pub(super) fn remove(&mut self, component: &str, path: &str) {
        let action = Action::RemoveFile { path: path.to_owned() };
        self.push(component, &format!("remove {path}"), deadline::QUICK_MS, action);
    }

    pub(super) fn daemon_reload(&mut self, component: &str) {
        self.push(component, "reload systemd", deadline::NGINX_MS, Action::DaemonReload);
    }

    pub(super) fn enable(&mut self, component: &str, units: BTreeMap<String, bool>) {
        if !units.is_empty() {
            let what = if units.len() == 1 { "enable its unit" } else { "enable its units" };
            self.push(component, what, deadline::UNIT_MS, Action::EnableUnits { units });
        }
    }

    pub(super) fn on_undo(&mut self, component: &str, what: &str, deadline_ms: u64, action: Action) {
        self.push(component, &format!("going back: {what}"), deadline_ms, Action::OnUndo(Box::new(action)));
    }

    pub(super) fn unit(&mut self, component: &str, unit: &str, enabled: Option<bool>, active: ActiveGoal) {
        let verb = match active {
            ActiveGoal::Started => "start",
            ActiveGoal::Restarted => "restart",
            ActiveGoal::Reloaded => "reload",
            ActiveGoal::Stopped => "stop",
        };
        let action = Action::Unit { unit: unit.to_owned(), enabled, active: Some(active) };
        self.push(component, &format!("{verb} {unit}"), deadline::UNIT_MS, action);
    }

    pub(super) fn up(&mut self, component: &str, project: &Project) {
        self.push(component, &format!("bring up {}", project.name), deadline::COMPOSE_MS, up(project));
    }

    pub(super) fn stop(&mut self, component: &str, project: &str, grace_ms: Option<u64>) {
        let action = Action::ComposeStop { project: project.to_owned(), grace_ms };
        self.push(component, &format!("stop {project}"), deadline::stop(grace_ms), action);
    }

    pub(super) fn down(&mut self, component: &str, project: &str, grace_ms: Option<u64>) {
        let action = Action::ComposeDown { project: project.to_owned(), grace_ms };
        self.push(component, &format!("take {project} down"), deadline::down(grace_ms), action);
    }

    pub(super) fn health(&mut self, component: &str, what: &str, check: &HealthCheck) {
        self.push(component, what, deadline::health(check), Action::Health(check.clone()));
    }

    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the steps, each title made unique by a number where it comes twice.
    pub(super) fn into_list(self) -> Vec<Step> {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut list = self.0;
        for step in &mut list {
            let count = seen.entry(step.title.clone()).or_default();
            *count += 1;
            if *count > 1 {
                step.title = format!("{} ({count})", step.title);
            }
        }
        list
    }
}

/// Returns the file as a step puts it.
pub(super) fn file_put(path: &str, file: &FileRecord) -> FilePut {
    FilePut {
        path: path.to_owned(),
        blob: file.digest,
        mode: file.mode,
        owner: file.owner.clone(),
        group: file.group.clone(),
    }
}

/// Returns `docker compose up` of a project.
pub(super) fn up(project: &Project) -> Action {
    Action::ComposeUp { project: project.name.clone(), file: project.file.clone(), services: project.services.clone() }
}

/// Returns whether a file belongs to nginx, whoever put it there: it is tested beside the live tree, and nginx is reloaded.
pub(super) fn is_nginx(path: &str) -> bool {
    path.starts_with("/etc/nginx/")
}
