//! Traces for people: a line for each thing that happened, in the notation of scripts, with a column a node.

use std::{collections::BTreeMap, fmt::Write};

use super::{Record, State};
use crate::{
    core::Effect,
    notation::{show_effect, show_input, show_members},
    types::{LogIndex, NodeId, Role, Time},
};

/// The width of a node's column.
const WIDTH: usize = 6;

/// Prints records in the order of their times.
///
/// The column of the node that acts says what it is by then, and in which term: `F3` follows, `P3` asks for
/// pre-votes, `C4` is a candidate and `L4` leads. Times are seconds since the first record.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// With how far each is committed.
    nodes: BTreeMap<NodeId, LogIndex>,
    began: Option<Time>,
}

impl Columns {
    /// Nothing is printed yet.
    pub fn new() -> Columns {
        Columns::default()
    }

    /// The lines of one record; a heading before them where a node is new.
    pub fn show(&mut self, record: &Record) -> String {
        let mut text = String::new();
        let known = self.nodes.len();
        self.nodes.entry(record.node).or_default();
        if self.nodes.len() > known {
            let names: String =
                self.nodes.keys().map(|node| format!("{:WIDTH$}", format!("n{node}"))).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:>12}  {}", "seconds", names.trim_end());
        }
        let began = *self.began.get_or_insert(record.at);
        let since = record.at.since(began);
        let time = format!("{}.{:06}", since.as_secs(), since.subsec_micros());
        for said in self.said(record) {
            let column = |at| if at == record.node { standing(&record.state) } else { "|".to_owned() };
            let columns: String = self.nodes.keys().map(|at| format!("{:WIDTH$}", column(*at))).collect();
            let _ = writeln!(text, "{time:>12}  {columns}{said}");
        }
        text
    }

    fn said(&mut self, record: &Record) -> Vec<String> {
        let Record { node, state, .. } = record;
        let committed = self.nodes.entry(*node).or_default();
        let name = |said: String| format!("n{node} {said}");
        let mut lines = Vec::new();
        if record.start.is_some() {
            *committed = LogIndex(0);
            let vote = state.voted_for.map_or(String::new(), |node| format!(" vote=n{node}"));
            lines.push(name(format!("starts term={}{vote} last={}", state.term, state.last_log_id)));
        }
        lines.extend(record.inputs.iter().filter_map(|input| show_input(*node, input)).map(name));
        let mut effects: Vec<String> = Vec::new();
        for effect in &record.effects {
            let shown = show_effect(*node, effect);
            let is_mail = matches!(effect, Effect::Send { .. });
            effects.push(if is_mail { shown } else { name(shown) });
        }
        lines.append(&mut effects);
        if let Some((id, members)) = &state.membership {
            lines.push(name(format!("members={} of {id}", show_members(members))));
        }
        if state.commit_index > *committed {
            lines.push(name(format!("commits {}", state.commit_index)));
        }
        *committed = state.commit_index;
        lines
    }
}

fn standing(state: &State) -> String {
    let letter = match state.role {
        Role::Follower => 'F',
        Role::PreCandidate => 'P',
        Role::Candidate => 'C',
        Role::Leader => 'L',
    };
    format!("{letter}{}", state.term)
}
