//! The text between qrexec daemon, policy daemon and policy agent (spec/qrexec-wire.md, section 9).

mod agent;
mod evaluation;
mod reply;
mod request;

pub use agent::{
    AGENT_ANSWER_LIMIT, ASK_SERVICE, AgentAnswer, NOTIFY_SERVICE, Resolution, guivm, notification, preamble,
};
pub use evaluation::{EVAL_GUI, EVAL_SIMPLE, EVALUATION_LIMIT, Evaluation};
pub use reply::{Grant, REPLY_LIMIT, Reply, ReplyError};
pub use request::{REQUEST_LIMIT, Request, RequestError};
