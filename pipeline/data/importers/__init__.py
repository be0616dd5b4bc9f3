"""Other layouts turned into the folder that StageLens reads."""
