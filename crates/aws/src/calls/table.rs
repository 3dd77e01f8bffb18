//! The table of calls: one row for each operation that the provider, the lookups and the state store call.

use super::{
    grant::{Grant, Need},
    rate::Rate,
};

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Call {
    /// The service's prefix in IAM and the operation's name in the API, such as `ec2:RunInstances`.
    pub operation: &'static str,
    /// The bucket whose tokens it takes.
    pub rate: Rate,
    /// Whether it can change anything.
    pub changes: bool,
    /// The actions that IAM checks. Some operations have an action of another name, and some need several.
    pub needs: &'static [Need],
}

/// Declares the calls of a service. Each line has the operation, its rate, and the actions that it needs with the
/// statement that allows them and the commands that make the call.
macro_rules! calls {
    ($(#[$doc:meta])* $name:ident: $(
        $effect:ident $operation:literal $rate:ident { $( $action:literal $grant:ident $commands:ident )* }
    )*) => {
        $(#[$doc])*
        pub(crate) static $name: &[$crate::calls::table::Call] = &[$(
            $crate::calls::table::Call {
                operation: $operation,
                rate: $crate::calls::rate::$rate,
                changes: $crate::calls::table::calls!(@ $effect),
                needs: &[$( $crate::calls::grant::Need {
                    action: $action,
                    grant: &$crate::calls::grant::$grant,
                    commands: $crate::calls::grant::Commands::$commands,
                } ),*],
            }
        ),*];
    };
    (@ read) => { false };
    (@ change) => { true };
}

pub(crate) use calls;

/// Every row.
pub(crate) fn all() -> impl Iterator<Item = &'static Call> {
    let services = [super::ec2::CALLS, super::ecs::CALLS, super::iam::CALLS, super::s3::CALLS, super::others::CALLS];
    services.into_iter().flatten()
}

/// The row of an operation.
pub(crate) fn row(operation: &str) -> Option<&'static Call> {
    all().find(|call| call.operation == operation)
}

/// The operation's row. A build with debug assertions fails without one, so tests find every missing row.
pub(crate) fn expected(operation: &str) -> Option<&'static Call> {
    let found = row(operation);
    debug_assert!(found.is_some(), "`{operation}` has no row in the table of calls");
    found
}

/// Every action of the table.
pub(crate) fn actions() -> impl Iterator<Item = &'static str> {
    all().flat_map(|call| call.needs).map(|need| need.action)
}

/// The first action that an operation needs: the one that IAM checks first.
pub(crate) fn action_of(operation: &str) -> &str {
    row(operation).and_then(|call| call.needs.first()).map_or(operation, |need| need.action)
}

/// The statements that allow an action.
pub(crate) fn grants_of(operation: &str, action: &str) -> Vec<&'static Grant> {
    let with_action = |call: &'static Call| call.needs.iter().filter(|need| need.action == action);
    let mut grants: Vec<&'static Grant> =
        row(operation).into_iter().flat_map(with_action).map(|need| need.grant).collect();
    if grants.is_empty() {
        grants = all().flat_map(with_action).map(|need| need.grant).collect();
    }
    let mut distinct: Vec<&'static Grant> = Vec::new();
    for grant in grants {
        if !distinct.contains(&grant) {
            distinct.push(grant);
        }
    }
    distinct
}
