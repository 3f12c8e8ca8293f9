//! Who may do what on which topic: Cedar policies for devices × topics.
//!
//! [`PolicySet::compile`] turns policy files into a checked, indexed [`PolicySet`]; [`PolicySet::slice`] takes out what
//! concerns one identity; [`Slice::decide`] answers, and a grant is a [`Permit`] that nothing else can make.
//!
//! *Invariants*
//! - What no policy permits is refused; `forbid` beats `permit`; a `forbid` that cannot be evaluated refuses.
//! - Only an `active` identity may do anything, and nobody may publish below `$SYS/`, whatever a policy says.
//! - `Receive` on a topic is granted if and only if `Subscribe` to exactly that topic is.
//! - [`Permit::covers_delivery`] is true only where `Receive` is proven for every topic that matches the filter.
//! - Sans-I/O: the time is an argument, files are text.

mod cases;
mod ceiling;
mod decision;
mod explain;
mod facts;
mod model;
mod proof;
mod review;
mod rule;
mod set;
mod slice;
mod source;
mod vocabulary;

pub use cases::{CaseResult, Expect, PolicyTests, TestReport};
pub use ceiling::Comparison;
pub use decision::{Decision, Denial, DenialReason, Permit, PolicyId};
pub use explain::{ExplainedPolicy, Explanation};
pub use model::{Action, Context, Epoch, Posture, Subject, UnknownAction};
pub use review::{Audience, Wide};
pub use set::PolicySet;
pub use slice::Slice;
pub use source::{Diagnostic, PolicySource};
