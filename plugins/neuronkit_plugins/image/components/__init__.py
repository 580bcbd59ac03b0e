"""The components of image pipelines: of each the module that is traced, its graph, and the shell that pipelines call."""
