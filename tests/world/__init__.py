"""The world that the tests stand in: documents, recordings, clocks, people who push, and APIs that misbehave.

A double proves no more than what it is true to, so each test takes the lowest line of this table that can show its
fault, and what a team relies on is shown once more with the real thing.

| double | stands for | around it is real | proves | does not prove |
|---|---|---|---|---|
| `bench.Bench` | the API client | turns, observer, store, log | what a turn does with any answer | HTTP, the loop |
| `bench.Time` | the clock of a turn | what the bench has | what waits, and for how long | a clock that jumps |
| `running.Running` | the API client | daemon, queue, store, files | what wakes whom | HTTP, the process |
| `fake_bird.FakeBird` | the API, with no socket | the client, its guard and gate | what answers mean | sockets, time |
| `sockets.a_server` | one connection's bytes | the client and its transports | what broken bytes do | the API's rules |
| `foreign_api.ForeignApi` | the API, as a process | the command, all of it | the contract in bytes | Bird's habits |
| `scene.Scene` | the API, by our sandbox | the command, all of it | long and rough runs | our own mistakes |
| `fault_proxy.FaultProxy` | the network | both sides of it | late, cut, reset, silent | what an API would say |
| `faulty_store` | a disk that fails on order | the command, SQLite | what a failed statement does | real damage |
| `git_scene.GitScene` | people and their host | git, signatures, daemon | what is in force | a host's habits |
| `clocks.FakeClock` | the gate's clock | the gate | pace and order | how fast it is |
| `virtual_loop` | the time of a loop | tasks, queue, backoff | order in time, without a wait | threads, sockets |

Beside the doubles: `ids`, `documents`, `mistakes` and `nouns` build what tests are about; `states` and `old_layouts`
write states; `shell` and `started` are the installed command, `front` the way to the independent API and the pages of
a daemon; `git` commits; `alert_rules` reads the alerts that `docs/` names; `places` says where things are, `ports`
which ports are free.

What must never happen here: a test, or an import of one.
"""
