//! The calls of ECS. Creating something with tags needs `TagResource` as well (ECS Developer Guide, "Grant permission to
//! tag resources on creation", read November 2026). `RunTask` needs `PassRole` for the roles of the task definition (the same
//! guide, "Amazon ECS task execution IAM role"); whether a service with a new definition does, AWS does not say.

use super::table::calls;

calls! {
    /// The calls of ECS.
    CALLS:
    read "ecs:DescribeClusters" CLUSTER_READ { "ecs:DescribeClusters" ECS ALL }
    read "ecs:DescribeServices" SERVICE_READ { "ecs:DescribeServices" ECS ALL }
    read "ecs:DescribeTaskDefinition" DEFINITION_READ { "ecs:DescribeTaskDefinition" READ ALL }
    read "ecs:DescribeTasks" CLUSTER_READ { "ecs:DescribeTasks" ECS CHANGE }
    read "ecs:ListTaskDefinitions" DEFINITION_READ { "ecs:ListTaskDefinitions" READ ALL }
    read "ecs:ListTasks" CLUSTER_READ { "ecs:ListTasks" LIST_TASKS CHANGE }

    change "ecs:CreateCluster" CLUSTER_CHANGE {
        "ecs:CreateCluster" ECS APPLY
        "ecs:TagResource" ECS APPLY
        "iam:CreateServiceLinkedRole" SERVICE_ROLES APPLY
    }
    change "ecs:DeleteCluster" CLUSTER_CHANGE { "ecs:DeleteCluster" ECS DESTROY }
    change "ecs:RegisterTaskDefinition" DEFINITION_CHANGE {
        "ecs:RegisterTaskDefinition" REGISTER APPLY
        "ecs:TagResource" ECS APPLY
        "iam:PassRole" PASS_TO_TASKS APPLY
    }
    change "ecs:DeregisterTaskDefinition" DEFINITION_CHANGE { "ecs:DeregisterTaskDefinition" DEREGISTER CHANGE }
    change "ecs:DeleteTaskDefinitions" DEFINITION_CHANGE { "ecs:DeleteTaskDefinitions" ECS CHANGE }
    change "ecs:CreateService" SERVICE_CHANGE {
        "ecs:CreateService" ECS APPLY
        "ecs:TagResource" ECS APPLY
        "iam:CreateServiceLinkedRole" SERVICE_ROLES APPLY
        "iam:PassRole" PASS_TO_TASKS APPLY
    }
    change "ecs:UpdateService" SERVICE_CHANGE {
        "ecs:UpdateService" ECS CHANGE
        "iam:PassRole" PASS_TO_TASKS APPLY
    }
    change "ecs:DeleteService" SERVICE_CHANGE { "ecs:DeleteService" ECS CHANGE }
    change "ecs:TagResource" ECS_TAG { "ecs:TagResource" ECS SIGN }
    change "ecs:UntagResource" ECS_TAG { "ecs:UntagResource" ECS UNMARK }
}
