-- Argo CD's health of an EdgeCluster, a BridgePipeline or a ReplicationLink; one script, installed for each kind.
-- It follows from the conditions as the table in docs/src/reference/conditions.md says; .ci/manifests proves it row by row.
-- Argo CD gives a script `obj`, and no library but os.time: neither string nor math.
local os = require("os")

-- Seconds after which a status says nothing about now (the operator writes one at least every 60 s).
local STALE_AFTER = 180

local function result(status, message)
  return {status = status, message = message}
end

local function whole(a, b)
  return (a - a % b) / b
end

local function two(n)
  if n < 10 then
    return "0" .. n
  end
  return "" .. n
end

-- Seconds since 1970 as Kubernetes writes them, 2026-11-21T15:04:05Z: such texts compare as their times do.
local function utc(seconds)
  local days = whole(seconds, 86400)
  local rest = seconds - days * 86400
  -- From days to a date, with years that begin on 1 March, so that a leap day is a year's last.
  local shifted = days + 719468
  local era = whole(shifted, 146097)
  local day = shifted - era * 146097
  local year = whole(day - whole(day, 1460) + whole(day, 36524) - whole(day, 146096), 365)
  day = day - (365 * year + whole(year, 4) - whole(year, 100))
  local month = whole(5 * day + 2, 153)
  day = day - whole(153 * month + 2, 5) + 1
  year = year + era * 400
  month = month + 3
  if month > 12 then
    month = month - 12
    year = year + 1
  end
  return year .. "-" .. two(month) .. "-" .. two(day) .. "T" .. two(whole(rest, 3600)) .. ":" .. two(whole(rest % 3600, 60)) .. ":"
    .. two(rest % 60) .. "Z"
end

local generation = obj.metadata.generation
local status = obj.status
if status == nil or status.conditions == nil then
  return result("Progressing", "the operator has not reported yet; does one look after this namespace?")
end
if status.observedGeneration ~= generation then
  return result("Progressing", "the operator has not taken up generation " .. generation .. " yet")
end
-- A time far ahead says as little as an old one: it would never become old.
if status.observedAt == nil or status.observedAt < utc(os.time() - STALE_AFTER) or status.observedAt > utc(os.time() + STALE_AFTER) then
  return result("Progressing", "the status is of " .. (status.observedAt or "an unknown time") .. ": does the operator run, are the clocks right?")
end

-- A condition that speaks of another generation says nothing about this one.
local conditions = {}
for _, condition in ipairs(status.conditions) do
  if condition.observedGeneration == nil or condition.observedGeneration == generation then
    conditions[condition.type] = condition
  end
end

local function is(type_, wanted)
  return conditions[type_] ~= nil and conditions[type_].status == wanted
end

local function told(type_)
  local condition = conditions[type_]
  if condition == nil then
    return "there is no condition " .. type_
  end
  return condition.reason .. ": " .. condition.message
end

if is("Stalled", "True") then
  return result("Degraded", told("Stalled"))
end
if obj.spec.paused == true then
  return result("Suspended", told("Ready"))
end
if is("Reconciling", "True") then
  return result("Progressing", told("Reconciling"))
end
if not is("Ready", "True") then
  return result("Progressing", told("Ready"))
end

-- Healthy, and what an engineer should read all the same: a line that is down, a link that loses ground, data that is gone.
local message = told("Ready")
for _, type_ in ipairs({"Connected", "KeepingUp", "Lossless", "TopicsSynced"}) do
  if is(type_, "False") or (type_ == "Lossless" and is(type_, "Unknown")) then
    message = message .. "; " .. type_ .. "=" .. conditions[type_].status .. " " .. told(type_)
  end
end
return result("Healthy", message)
