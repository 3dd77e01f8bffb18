//! The calls of IAM. To put a role into an instance profile, the caller must be allowed to pass it (IAM API reference,
//! `AddRoleToInstanceProfile`, read November 2026).

use super::table::calls;

calls! {
    /// The calls of IAM.
    CALLS:
    read "iam:GetInstanceProfile" IAM { "iam:GetInstanceProfile" IAM ALL }
    read "iam:GetRole" IAM { "iam:GetRole" IAM ALL }
    read "iam:GetRolePolicy" IAM { "iam:GetRolePolicy" IAM ALL }
    read "iam:ListAttachedRolePolicies" IAM { "iam:ListAttachedRolePolicies" IAM ALL }
    read "iam:ListInstanceProfilesForRole" IAM { "iam:ListInstanceProfilesForRole" IAM DESTROY }
    read "iam:ListRolePolicies" IAM { "iam:ListRolePolicies" IAM ALL }
    read "iam:ListRoles" IAM { "iam:ListRoles" LIST_ROLES ALL }

    change "iam:CreateRole" IAM {
        "iam:CreateRole" IAM APPLY
        "iam:TagRole" IAM APPLY
    }
    change "iam:UpdateRole" IAM { "iam:UpdateRole" IAM APPLY }
    change "iam:UpdateAssumeRolePolicy" IAM { "iam:UpdateAssumeRolePolicy" IAM APPLY }
    change "iam:PutRolePolicy" IAM { "iam:PutRolePolicy" IAM APPLY }
    change "iam:DeleteRolePolicy" IAM { "iam:DeleteRolePolicy" IAM CHANGE }
    change "iam:AttachRolePolicy" IAM { "iam:AttachRolePolicy" IAM NONE }
    change "iam:DetachRolePolicy" IAM { "iam:DetachRolePolicy" IAM CHANGE }
    change "iam:DeleteRole" IAM { "iam:DeleteRole" IAM DESTROY }
    change "iam:TagRole" IAM { "iam:TagRole" IAM APPLY }
    change "iam:UntagRole" IAM { "iam:UntagRole" IAM APPLY }

    change "iam:CreateInstanceProfile" IAM {
        "iam:CreateInstanceProfile" IAM APPLY
        "iam:TagInstanceProfile" IAM APPLY
    }
    change "iam:AddRoleToInstanceProfile" IAM {
        "iam:AddRoleToInstanceProfile" IAM APPLY
        "iam:PassRole" PASS_TO_HOSTS APPLY
    }
    change "iam:RemoveRoleFromInstanceProfile" IAM { "iam:RemoveRoleFromInstanceProfile" IAM CHANGE }
    change "iam:DeleteInstanceProfile" IAM { "iam:DeleteInstanceProfile" IAM DESTROY }
    change "iam:TagInstanceProfile" IAM { "iam:TagInstanceProfile" IAM APPLY }
    change "iam:UntagInstanceProfile" IAM { "iam:UntagInstanceProfile" IAM APPLY }
}
