"""The ingredients of an experiment: plain functions, and one literal table at the foot of each file.

Adding one is one function and one line. The keys that a person may set (`huber:delta=1.5`) are the function's
keyword-only parameters; their kinds are the names of the aliases in `nnlab.core.kinds`.
"""
