"""What commands ask of Video2World before a model loads."""

from cosmos_plugins.predict1_multiview.single_view.inputs import check, job_of, key_of, prompts_of, read, work_of

__all__ = ["PIPELINE", "check", "job_of", "key_of", "prompts_of", "read", "work_of"]

PIPELINE = "cosmos_plugins.predict1_multiview.video2world.pipeline:Video2WorldPipeline"
