# Requires tags on every resource that is created, changed or replaced.
#
# Resources that cannot have tags are left out. Of a resource that is changed in place, the plan shows only the attributes
# that differ, so a tag that it never had is not noticed there. The tags that a launch template gives to what is launched
# from it (`data.tags`) are not compared: Trunnion keeps them the same for the life of a host, and gives each host its other
# tags once it runs. Volumes and network interfaces have only `Name` and `trunnion:stack`.
#
# To adapt it: `required` are the keys. Put them into `tags` of the stack file.
package trunnion.tags

required := {"team", "cost-center"}

deny contains verdict if {
	some change in input.compared.changes
	missing := missing_of(change)
	count(missing) > 0
	verdict := {
		"address": change.address,
		"message": sprintf("`%s` lacks the tags %s", [change.address, concat(", ", missing)]),
		"help": "add them to `tags` of the stack file",
	}
}

missing_of(change) := {key | some key in required; object.get(change.desired.tags, key, "") == ""} if change.desired

missing_of(change) := {key | some key in required; is_removed(change, key)} if not change.desired

is_removed(change, key) if {
	some difference in change.differences
	difference.path == sprintf("tags.%s", [key])
	object.get(difference, "after", "") == ""
}

is_removed(change, key) if {
	some difference in change.differences
	difference.path == "tags"
	object.get(object.get(difference, "after", {}), key, "") == ""
}
