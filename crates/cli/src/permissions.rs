//! The command `permissions`.

use trunnion::{ExitCode, aws, stack::StateLocation};

use super::{
    arguments::{Permissions, Purpose},
    failure::Failure,
    output::Output,
    stack_file,
};

impl From<Purpose> for aws::Purpose {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Plan => Self::Plan,
            Purpose::Apply => Self::Apply,
            Purpose::Destroy => Self::Destroy,
            Purpose::Doctor => Self::Doctor,
            Purpose::State => Self::State,
            Purpose::Forget => Self::Forget,
            Purpose::Import => Self::Import,
        }
    }
}

/// Prints one policy, or a list of the parts of a longer one.
pub(crate) fn permissions(arguments: &Permissions, output: Output) -> Result<ExitCode, Failure> {
    let stack = stack_file::load(&arguments.stack.file, &arguments.stack.reading, "permissions")?;
    if arguments.purpose == Purpose::State && matches!(stack.state, StateLocation::File(_)) {
        let message =
            "the state of this stack is a file, so `trunnion state` makes no AWS call that needs a permission";
        return Err(Failure::new("permissions::state", message));
    }
    let policies = trunnion::permissions(&stack, arguments.purpose.into())?;
    let count = policies.len();
    let json = match (arguments.part, policies.as_slice()) {
        (Some(part), policies) => {
            let Some(policy) = policies.get(usize::from(part).wrapping_sub(1)) else {
                let parts = if count == 1 { "1 part".to_owned() } else { format!("{count} parts") };
                let message = format!("`--part {part}` does not exist: this policy has {parts}");
                return Err(Failure::new("permissions::part", message));
            };
            written(serde_json::to_string_pretty(policy))?
        }
        (None, [only]) => written(serde_json::to_string_pretty(only))?,
        (None, several) => {
            output.say(&format!(
                "A managed policy can have {} characters, so this policy has {count} parts, printed as a list. Print each with \
                 `--part 1` to `--part {count}`, and attach all of them.",
                aws::MANAGED_POLICY_LIMIT
            ));
            written(serde_json::to_string_pretty(several))?
        }
    };
    output.data(&json)?;
    Ok(ExitCode::Done)
}

fn written(json: serde_json::Result<String>) -> Result<String, Failure> {
    json.map_err(|error| Failure::new("permissions::json", format!("the policy cannot be written as JSON: {error}")))
}
