"""The simulated arm, its tasks and its scripted teleoperator (MuJoCo)."""
