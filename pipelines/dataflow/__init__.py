"""The main job on Google's Dataflow: what is checked before it is sent, and the start from a Flex Template."""
