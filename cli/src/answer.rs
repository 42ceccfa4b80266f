//! What a command that could do its work has to say.

/// What a command that could do its work has to say. Its exit status is 0 or 1.
pub(crate) enum Answer {
    /// The answer is yes, or the work is done and nothing is wrong.
    Yes,
    /// The answer is no, or damage was found.
    No,
}

impl Answer {
    /// Yes, if both are.
    pub(crate) fn and(self, other: Answer) -> Answer {
        if let Answer::Yes = self { other } else { self }
    }

    pub(crate) fn yes_if(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}
