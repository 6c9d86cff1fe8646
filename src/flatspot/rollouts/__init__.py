"""Rollouts: completions of prompts with their rewards, how they are drawn and how they are stored.

Drawn, in rounds:

    rounds        one round (which prompts, how many completions of each), and the one loop that draws round after round
    completions   what a round draws: completions by an engine, scored by a reward
    collect       rounds drawn into a run folder, part by part; a killed run resumes
    progress      how far that has come

Kept in a run folder, which only these modules write:

    store         run.json, prompts and parts; opening and resuming one
    parts         which rounds and parts are on disk, and their rewards
    completeness  how much of what was planned is there; the stored rounds replayed, to resume from
    compaction    small files of parts joined into larger ones
    identity      what decides the rows, and the name of a run by it
    notes         what sampling or importing left to report
    migration     folders of the schema version before
    settings_diff what differs between the settings of two runs
    ownership     which folders and files are a run's; nothing else is written or deleted
    locks         one writer at a time
    files, tables whole files or none; the Parquet files read back
    checksums     a checksum inside a Parquet file

    rescore       the completions of a run folder scored by another reward, into another one
"""
