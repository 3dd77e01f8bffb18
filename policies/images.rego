# Forbids container images without a digest, and warns of machine images that the stack gives by name.
#
# A tag of a container image can be moved to other content; a digest cannot. A machine image that is given by name stays the
# same until `--update-images`, so it is only a warning.
#
# To adapt it: `accepted` are images that may have a tag, exactly as they are written in the stack file.
package trunnion.images

accepted := set()

deny contains verdict if {
	some change in input.compared.changes
	startswith(change.address, "ecs_task_definition.")
	some container, image in images(change)
	not regex.match(`@sha256:[0-9a-f]{64}$`, image)
	not image in accepted
	verdict := {
		"address": change.address,
		"message": sprintf("the container `%s` of `%s` has the image %s, which has no digest", [container, change.address, image]),
		"help": "add the digest to the image: NAME:TAG@sha256:…",
	}
}

warn contains verdict if {
	some change in input.compared.changes
	startswith(change.address, "launch_template.")
	some source in image_sources(change)
	not startswith(source, "ami-")
	verdict := {
		"address": change.address,
		"message": sprintf("`%s` takes the machine image that %s names", [change.address, source]),
		"help": "name an image's id in the pool: image: ami-…",
	}
}

images(change) := {name: container.image | some name, container in change.desired.containers} if change.desired

images(change) := {split(difference.path, ".")[1]: difference.after |
	some difference in change.differences
	regex.match(`^containers\..+\.image$`, difference.path)
	is_string(difference.after)
} if {
	not change.desired
}

image_sources(change) := {change.desired.data.image_source} if change.desired

image_sources(change) := {difference.after |
	some difference in change.differences
	difference.path == "data.image_source"
} if {
	not change.desired
}
