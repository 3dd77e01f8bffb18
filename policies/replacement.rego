# Forbids plans that replace or delete more than half of the hosts of a pool at once.
#
# Hosts that the plan creates do not count: what they can hold is not there yet. Pools of one host cannot keep half of
# themselves, so they are left out, and so are plans that delete everything (`trunnion destroy`).
#
# To adapt it: `at_most` is the part of a pool that may be lost at once, in percent. `accepted` are names of pools that may
# lose more, for example because the stack gives them up. A plan of a part (`--target instance.POOL[0]`) replaces fewer.
package trunnion.replacement

at_most := 50

accepted := set()

deny contains verdict if {
	not input.compared.origin.destroy
	some pool, hosts in existing
	not pool in accepted
	total := size(pool, hosts)
	total > 1
	lost := {change.address | some change in input.compared.changes; change.address in hosts; change.action in {"replace", "delete"}}
	count(lost) * 100 > total * at_most
	verdict := {
		"message": sprintf("%d of %d hosts of the pool `%s` are replaced or deleted at once", [count(lost), total, pool]),
		"help": sprintf("apply it in parts, for example with `--target '%s'`", [min(lost)]),
	}
}

# The addresses of the hosts that are there now, by pool.
existing[pool] contains change.address if {
	some change in input.compared.changes
	startswith(change.address, "instance.")
	change.action != "create"
	pool := split(trim_prefix(change.address, "instance."), "[")[0]
}

# A plan of a part does not list the other hosts. How many hosts the whole pool has then is in the estimate.
size(pool, hosts) := max({count(hosts)} | {capacity.hosts |
	input.compared.partial
	some capacity in input.remarks.estimate.pools
	capacity.pool == pool
})
