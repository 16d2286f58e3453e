"""The operator's configuration: who hears of a run. No job, plan or audit names it."""
