"""Scripts that run in the store. All keys of one share a hash tag, so that a cluster has them together."""

FIND = """
local value = redis.call('GET', KEYS[1])
if value then return value end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
return 0
"""
"""Return the value, or 1 if there is none and the lease is the caller's now, or 0 if it is another's.

Keys: the value's, the lease's. Arguments: the caller's fence, milliseconds of the lease.
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
return redis.call('GET', KEYS[1])
"""
"""Say that a replica lives, and up to which revision of the revocations it has them; return the present
revision.

Keys: the revision's, the replicas'. Arguments: the replica's id, its revision.
"""

ANNOUNCE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
for position = 5, #ARGV do redis.call('HDEL', KEYS[1], ARGV[position]) end
local before = redis.call('GET', KEYS[2]) or '0'
local revision = string.format('%d %s', (tonumber(string.match(before, '^%d+')) or 0) + 1, ARGV[3])
redis.call('SET', KEYS[2], revision)
redis.pcall('PUBLISH', ARGV[4], revision)
return revision
"""
"""Store a revocation, and return the new revision: a number, and something random, since a failover may set
the number back.

Keys: the revocations', the revision's. Arguments: the revocation's name, itself, something random, the
channel, and its names under other secrets.
"""

REPLICAS = """
return {redis.call('TIME')[1], redis.call('HGETALL', KEYS[1])}
"""
"""Return the server's time, and what each replica said last."""
