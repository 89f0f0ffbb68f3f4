"""Scripts that run in the store. All keys of one share a hash tag, so that a cluster has them together.

Replies are bounded: others may have written to the store, and what they wrote must not fill our memory.
"""

FIND = """
if redis.call('STRLEN', KEYS[1]) > tonumber(ARGV[3]) then return '' end
local value = redis.call('GET', KEYS[1])
if value then return value end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
"""Return the value, or 1 if there is none and the lease is the caller's now, or 0 if it is another's.

A value that is too long is returned as an empty one. Keys: the value's, the lease's. Arguments: the caller's
fence, milliseconds of the lease, the most bytes of a value.
"""

STORE = """
local reply = 0
if ARGV[2] ~= '0' then reply = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
if redis.call('GET', KEYS[2]) == ARGV[3] then redis.call('DEL', KEYS[2]) end
return reply
"""
"""Store a value, and give back the lease if it is still the caller's, even where the memory is full.

Keys: the value's, the lease's. Arguments: the value, its milliseconds (0: store nothing), the fence.
"""

POLL = """
local time = redis.call('TIME')
redis.pcall('HSET', KEYS[2], ARGV[1], time[1] .. ' ' .. ARGV[2])
return redis.call('GETRANGE', KEYS[1], 0, 99) .. ' of ' .. redis.call('HLEN', KEYS[3])
"""
"""Say that a replica lives, and up to which state of the revocations it has them; return the present state.

It differs after a change, and after entries were lost. Keys: the revision's, the replicas', the revocations'.
Arguments: the replica's id, its state.
"""

_REVISE = """
local function revise(key, random, channel)
  local number = tonumber(string.match(redis.call('GETRANGE', key, 0, 99), '^%d+')) or 0
  if number > 2^52 then number = 0 end
  local revision = string.format('%d %s', number + 1, random)
  redis.call('SET', key, revision)
  redis.pcall('PUBLISH', channel, revision)
  return revision
end
"""

ANNOUNCE = (
    _REVISE
    + """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for position = 5, #ARGV do redis.call('HDEL', KEYS[1], ARGV[position]) end
return revise(KEYS[2], ARGV[3], ARGV[4])
"""
)
"""Store a revocation, and return the new revision: a number, and something random, since a failover may set
the number back.

Keys: the revocations', the revision's. Arguments: the revocation's name, itself, something random, the
channel, and its names under other secrets.
"""

ASK = _REVISE + "return revise(KEYS[1], ARGV[1], ARGV[2])"
"""Have all replicas read the revocations, and put back what the store lacks; return the new revision.

Key: the revision's. Arguments: something random, the channel.
"""

_READ = """
local function read(key, longest, most)
  local found, bytes = {}, 0
  for _, name in ipairs(redis.call('HKEYS', key)) do
    local length = redis.call('HSTRLEN', key, name)
    if #name <= 256 and length <= longest and bytes + length <= most then
      bytes = bytes + #name + length
      found[#found + 1] = name
      found[#found + 1] = redis.call('HGET', key, name)
    end
  end
  return found
end
"""

REVOCATIONS = _READ + "return {redis.call('HLEN', KEYS[1]), read(KEYS[1], tonumber(ARGV[1]), 2^25)}"
"""Return how many revocations there are, and the names and values of those that are not too long.

Key: the revocations'. Argument: the most bytes of one. Of all together it is 32 MiB.
"""

REPLICAS = _READ + "return {redis.call('TIME')[1], read(KEYS[1], 256, 2^20)}"
"""Return the server's time, and what each replica said last.

Key: the replicas'.
"""
