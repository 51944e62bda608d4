//! Introductions, refusals, and changes of members on their way to the leader. They are rare, so what they
//! say is in postcard, as memberships in the log are.

use raft_actor::{
    membership::{ChangeError, MembershipChange},
    message::{ForwardChange, ForwardChangeReply, Introduction, Refusal},
    types::LogId,
};

use super::{EncodeError, WireError, decode::Reader};

type Outcome = Result<LogId, ChangeError>;

pub(super) fn encoded_change(change: &MembershipChange) -> Result<Vec<u8>, EncodeError> {
    postcard::to_allocvec(change).map_err(|error| EncodeError::Membership(error.to_string()))
}

pub(super) fn encoded_outcome(outcome: &Outcome) -> Result<Vec<u8>, EncodeError> {
    postcard::to_allocvec(outcome).map_err(|error| EncodeError::Membership(error.to_string()))
}

pub(super) fn encoded_refusal(refusal: &Refusal) -> Result<Vec<u8>, EncodeError> {
    postcard::to_allocvec(refusal).map_err(|error| EncodeError::Membership(error.to_string()))
}

impl Reader<'_> {
    pub(super) fn refusal(&mut self) -> Result<Refusal, WireError> {
        self.whole("a refusal", |bytes| postcard::take_from_bytes(bytes))
    }

    pub(super) fn introduction(&mut self) -> Result<Introduction, WireError> {
        let what = "an address";
        let bytes = self.bytes(what)?;
        let offset = self.offset - bytes.len();
        let address = String::from_utf8(bytes.to_vec());
        let refused = |error: std::string::FromUtf8Error| error.to_string();
        let address =
            address.map_err(refused).map_err(|reason| WireError::Members { what, offset, reason })?;
        Ok(Introduction { address })
    }

    pub(super) fn forward_change(&mut self) -> Result<ForwardChange, WireError> {
        let id = self.u64("the change")?;
        let change: MembershipChange =
            self.whole("a change of members", |bytes| postcard::take_from_bytes(bytes))?;
        Ok(ForwardChange { id, change })
    }

    pub(super) fn forward_change_reply(&mut self) -> Result<ForwardChangeReply, WireError> {
        let id = self.u64("the change")?;
        let result: Outcome = self.whole("a change's outcome", |bytes| postcard::take_from_bytes(bytes))?;
        Ok(ForwardChangeReply { id, result })
    }

    /// What `read` makes of the next bytes, of which it must leave none.
    fn whole<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&[u8]) -> postcard::Result<(T, &[u8])>,
    ) -> Result<T, WireError> {
        let bytes = self.bytes(what)?;
        let offset = self.offset - bytes.len();
        let refused = |reason| WireError::Members { what, offset, reason };
        let (value, rest) = read(&bytes).map_err(|error| refused(error.to_string()))?;
        if rest.is_empty() { Ok(value) } else { Err(refused(format!("{} bytes too many", rest.len()))) }
    }
}
