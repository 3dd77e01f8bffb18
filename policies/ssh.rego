# Forbids security groups that let the internet reach port 22.
#
# A rule counts if its ports include 22, and its peer is a network that is not private. The sizes of all such networks of a
# group are added, so that 0.0.0.0/1 and 128.0.0.0/1 are as wide as 0.0.0.0/0.
#
# To adapt it: `widest` is how much of the internet may reach port 22. `accepted` are the addresses of groups that may be
# open. `security_group.untracked` is one of them: `tracking: untracked` makes it for load interfaces alone, and no sshd
# listens there.
package trunnion.ssh

accepted := {"security_group.untracked"}

# IPv4 addresses (as many as a /8 has), and IPv6 networks of 48 bits (as many as a /32 has).
widest := {"ipv4": 16777216, "ipv6": 65536}

private := {
	"ipv4": {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"},
	"ipv6": {"fc00::/7"},
}

deny contains verdict if {
	some group, rules in ingress
	some family in ["ipv4", "ipv6"]
	networks := {rule.peer | some rule in rules; family_of(rule) == family; is_ssh(rule); not is_private(rule)}
	sum([size(network, family) | some network in networks]) > widest[family]
	verdict := {
		"address": group,
		"message": sprintf("`%s` lets the internet reach port 22: %s", [group, concat(", ", networks)]),
		"help": "let in only the networks that need SSH, or security groups",
	}
}

warn contains verdict if {
	some group, rules in ingress
	some rule in rules
	is_ssh(rule)
	is_string(rule.peer)
	startswith(rule.peer, "pl-")
	verdict := {
		"address": group,
		"message": sprintf("`%s` lets the prefix list %s reach port 22, and the plan does not show its networks", [group, rule.peer]),
		"help": "look at the entries of the prefix list, or name the networks themselves",
	}
}

# The rules that each group gets: all of a new group, and all of a group whose rules change.
ingress[change.address] := change.desired.ingress if {
	some change in groups
}

ingress[change.address] := difference.after if {
	some change in groups
	not change.desired
	some difference in change.differences
	difference.path == "ingress"
}

groups contains change if {
	some change in input.compared.changes
	startswith(change.address, "security_group.")
	not change.address in accepted
}

is_ssh(rule) if rule.protocol == "-1"

is_ssh(rule) if {
	rule.protocol in {"tcp", "6"}
	object.get(rule, "from_port", 0) <= 22
	last_port(rule) >= 22
}

# EC2 writes -1 for all ports.
last_port(rule) := 65535 if object.get(rule, "to_port", -1) == -1

last_port(rule) := rule.to_port if rule.to_port != -1

# Security groups and prefix lists have none.
family_of(rule) := "ipv4" if {
	is_network(rule)
	not contains(rule.peer, ":")
}

family_of(rule) := "ipv6" if {
	is_network(rule)
	contains(rule.peer, ":")
}

is_network(rule) if {
	is_string(rule.peer)
	contains(rule.peer, "/")
}

is_private(rule) if {
	some network in private[family_of(rule)]
	net.cidr_contains(network, rule.peer)
}

size(network, "ipv4") := bits.lsh(1, 32 - prefix_length(network))

size(network, "ipv6") := bits.lsh(1, max([0, 48 - prefix_length(network)]))

prefix_length(network) := to_number(split(network, "/")[1])
