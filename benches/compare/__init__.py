"""Side by side: the same work by parcelry and by other tools, on one machine, in one run.

Reading order: `__main__` (options, and what happens in which order), `turns` (who does what when), `work` (the
cases), `measure` (how one of them is timed), `process` (how processes are started, watched and ended), `rivals`
(one file a tool), `runs` (several as one), `report` and `plot` (what is made of the numbers). `install` and `isolate` prepare the machine.
"""
