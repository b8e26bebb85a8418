//! What each situation means: one table for the code and for the docs.

use std::fmt::Write as _;

use crate::api::Verdict;

/// What an object's history amounts to. The rows of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Situation {
    /// Not yet connected since the spec was written.
    Starting,
    /// The same for too long, or the spec, or what it refers to, cannot work.
    CannotWork,
    /// Keeps up.
    Following,
    /// Behind, and gaining.
    CatchingUp,
    /// Behind, and losing ground.
    FallingBehind,
    /// Connected, and the position does not move although it should.
    NotMoving,
    /// Was connected since the spec was written, and is not now.
    Disconnected,
    /// Connected, but Kafka or the pod cannot be read, so that nothing is measured.
    Unmeasured,
    /// `spec.paused`.
    Paused,
}

/// The status of the condition `Ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyStatus {
    /// True.
    True,
    /// False.
    False,
    /// Unknown.
    Unknown,
}

impl ReadyStatus {
    /// As the conditions' builder takes it.
    #[must_use]
    pub const fn as_bool(self) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::False => Some(false),
            Self::Unknown => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// Argo CD's health, which follows from the conditions (manifests/argocd/health.lua).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgoHealth {
    /// Healthy.
    Healthy,
    /// Progressing.
    Progressing,
    /// Degraded.
    Degraded,
    /// Suspended.
    Suspended,
}

impl ArgoHealth {
    /// Argo CD's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::Suspended => "Suspended",
        }
    }
}

/// What a situation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The situation.
    pub situation: Situation,
    /// The situation in words.
    pub text: &'static str,
    /// `status.verdict`.
    pub verdict: Verdict,
    /// The condition `Ready`.
    pub ready: ReadyStatus,
    /// Whether `Reconciling=True` stands.
    pub reconciling: bool,
    /// Whether `Stalled=True` stands.
    pub stalled: bool,
    /// The condition `Connected`: `Some(false)` where the line is down, `None` where nothing is known.
    pub connected: Option<bool>,
    /// The condition `KeepingUp` of a link.
    pub keeping_up: Option<bool>,
    /// Argo CD's health, as long as no partition is stopped (then Degraded).
    pub argo: ArgoHealth,
}

const fn following(situation: Situation, text: &'static str, verdict: Verdict) -> Row {
    Row {
        situation,
        text,
        verdict,
        ready: ReadyStatus::True,
        reconciling: false,
        stalled: false,
        connected: Some(true),
        keeping_up: Some(true),
        argo: ArgoHealth::Healthy,
    }
}

const fn not_running(situation: Situation, text: &'static str, verdict: Verdict, argo: ArgoHealth) -> Row {
    Row {
        situation,
        text,
        verdict,
        ready: ReadyStatus::False,
        reconciling: false,
        stalled: false,
        connected: None,
        keeping_up: None,
        argo,
    }
}

/// Every situation. Data that is gone or refused adds `Lossless=False` (or Unknown), saying what and where, to any of
/// them; if it stopped a partition, `Ready` is False, `Stalled` is True and Argo CD says Degraded.
pub const TABLE: [Row; 9] = [
    Row {
        reconciling: true,
        ..not_running(
            Situation::Starting,
            "first start, not yet connected",
            Verdict::Unknown,
            ArgoHealth::Progressing,
        )
    },
    Row {
        stalled: true,
        ..not_running(
            Situation::CannotWork,
            "the same for longer than 10 min, or the spec cannot work",
            Verdict::Unknown,
            ArgoHealth::Degraded,
        )
    },
    following(Situation::Following, "following", Verdict::InSync),
    following(Situation::CatchingUp, "behind but gaining", Verdict::CatchingUp),
    Row {
        keeping_up: Some(false),
        ..following(
            Situation::FallingBehind,
            "behind and losing",
            Verdict::FallingBehind,
        )
    },
    Row {
        stalled: true,
        connected: Some(true),
        keeping_up: Some(false),
        ..not_running(
            Situation::NotMoving,
            "connected, source moves, position does not",
            Verdict::NotMoving,
            ArgoHealth::Degraded,
        )
    },
    Row {
        connected: Some(false),
        keeping_up: None,
        ..following(
            Situation::Disconnected,
            "was connected in this generation, the line is down",
            Verdict::Disconnected,
        )
    },
    Row {
        ready: ReadyStatus::Unknown,
        reconciling: true,
        ..not_running(
            Situation::Unmeasured,
            "was connected, but now neither Kafka nor the pod can be read",
            Verdict::Unknown,
            ArgoHealth::Progressing,
        )
    },
    not_running(
        Situation::Paused,
        "paused",
        Verdict::Paused,
        ArgoHealth::Suspended,
    ),
];

/// The row of a situation.
#[must_use]
pub const fn row(situation: Situation) -> &'static Row {
    // The enum's order is the table's: a test proves it.
    &TABLE[situation as usize]
}

/// The table for the docs.
#[must_use]
pub fn table_markdown() -> String {
    let mut text = String::from(
        "| Situation | `verdict` | `Ready` | other conditions | Argo CD |\n| --- | --- | --- | --- | --- |\n",
    );
    for row in &TABLE {
        let mut others = Vec::new();
        for (name, stands) in [("Reconciling", row.reconciling), ("Stalled", row.stalled)] {
            if stands {
                others.push(format!("{name}=True"));
            }
        }
        for (name, value) in [("Connected", row.connected), ("KeepingUp", row.keeping_up)] {
            if value == Some(false) {
                others.push(format!("{name}=False"));
            }
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.text,
            row.verdict.as_str(),
            row.ready.as_str(),
            others.join(", "),
            row.argo.as_str()
        );
    }
    text.push_str(
        "| data gone or refused (gap, truncated payload, session lost) | as measured | as above; False if a \
         partition stopped | Lossless=False or Unknown, what and where | as above; Degraded if a partition stopped |\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_where_its_situation_points() {
        for (index, line) in TABLE.iter().enumerate() {
            assert_eq!(line.situation as usize, index);
            assert_eq!(row(line.situation), line);
        }
    }

    #[test]
    fn argo_cd_s_health_follows_from_the_conditions_as_its_script_reads_them() {
        // The script knows no verdict: paused -> Suspended, Stalled -> Degraded, Ready -> Healthy, else Progressing.
        for row in &TABLE {
            let health = match row {
                Row {
                    situation: Situation::Paused,
                    ..
                } => ArgoHealth::Suspended,
                Row { stalled: true, .. } => ArgoHealth::Degraded,
                Row {
                    ready: ReadyStatus::True,
                    ..
                } => ArgoHealth::Healthy,
                _ => ArgoHealth::Progressing,
            };
            assert_eq!(health, row.argo, "{}", row.text);
        }
    }

    #[test]
    fn reconciling_and_stalled_never_stand_together_and_never_with_ready() {
        for row in &TABLE {
            assert!(!(row.reconciling && row.stalled), "{}", row.text);
            assert!(
                row.ready != ReadyStatus::True || !(row.reconciling || row.stalled),
                "{}",
                row.text
            );
        }
    }

    #[test]
    fn every_verdict_has_a_row() {
        for verdict in Verdict::ALL {
            assert!(TABLE.iter().any(|row| row.verdict == verdict), "{verdict:?}");
        }
    }
}
