# Forbids instance types of other families than these.
#
# To adapt it: `families` are what is before the point of an instance type, such as `c7i` of `c7i.xlarge`.
package trunnion.instances

families := {"c6in", "c7gn", "c7i", "c7in", "c8gn"}

deny contains verdict if {
	some change in input.compared.changes
	startswith(change.address, "launch_template.")
	some instance_type in instance_types(change)
	not split(instance_type, ".")[0] in families
	verdict := {
		"address": change.address,
		"message": sprintf("`%s` has the instance type %s, whose family is not allowed", [change.address, instance_type]),
		"help": sprintf("take one of %s", [concat(", ", families)]),
	}
}

instance_types(change) := {change.desired.data.instance_type} if change.desired

instance_types(change) := {difference.after |
	some difference in change.differences
	difference.path == "data.instance_type"
} if {
	not change.desired
}
