"""Cosmos-Transfer1: a video turned into another world under the control of its edges, depth, segments or blur."""

from cosmos_cli.hookspecs import Package, RegisterControl, RegisterDemo, RegisterFamily, RegisterRecipes, hookimpl


@hookimpl
def cosmos_register_families(register: RegisterFamily) -> None:
    register(
        name="transfer",
        help="Turn a video into another world under edge, depth, seg and blur control (Cosmos-Transfer1).",
        commands="cosmos_plugins.transfer1.commands:app",
        checkpoints="cosmos_plugins.transfer1.checkpoints:CATALOGUE",
        formats="cosmos_plugins.transfer1.formats:FORMATS",
        example="transfer run --model tiny --edge 0.5 --input-video-path street.mp4",
        workbench="cosmos_plugins.transfer1.workbench:KIND",
    )


@hookimpl
def cosmos_register_controls(register: RegisterControl) -> None:
    folder, driving = "nvidia/Cosmos-Transfer1-7B", "nvidia/Cosmos-Transfer1-7B-Sample-AV"
    register(
        name="vis",
        help="Colours and shapes: the input video, blurred.",
        checkpoint=f"{folder}/vis_control.pt",
        compute="cosmos_plugins.transfer1.controls:vis",
        train="cosmos_plugins.transfer1.controls.by_chance:vis",
    )
    register(
        name="edge",
        help="Outlines: Canny edges of the input video.",
        checkpoint=f"{folder}/edge_control.pt",
        compute="cosmos_plugins.transfer1.controls:edge",
        train="cosmos_plugins.transfer1.controls.by_chance:edge",
        distilled=f"{folder}/edge_control_distilled.pt",
    )
    register(
        name="depth",
        help="Distances, near is bright: Depth Anything V2.",
        checkpoint=f"{folder}/depth_control.pt",
        compute="cosmos_plugins.transfer1.controls:depth",
        source_frames=True,
        models="cosmos_plugins.transfer1.checkpoints:DEPTH_ESTIMATOR",
    )
    register(
        name="seg",
        help="One colour per object: Grounding DINO and SAM 2.",
        checkpoint=f"{folder}/seg_control.pt",
        compute="cosmos_plugins.transfer1.controls:seg",
        interpolation="nearest",
        source_frames=True,
        models="cosmos_plugins.transfer1.checkpoints:OBJECT_FINDER",
    )
    register(
        name="keypoint",
        help="Human skeletons: RTMW by rtmlib, an extra.",
        checkpoint=f"{folder}/keypoint_control.pt",
        compute="cosmos_plugins.transfer1.controls:keypoint",
        source_frames=True,
        models="cosmos_plugins.transfer1.checkpoints:PEOPLE_FINDER",
        needs=Package("rtmlib", does="finds people", install="cosmos-cli[keypoint]"),
    )
    register(
        name="upscale",
        help="The video itself, three times as large.",
        checkpoint=f"{folder}/4kupscaler_control.pt",
        compute="cosmos_plugins.transfer1.controls:upscale",
        train="cosmos_plugins.transfer1.controls.by_chance:upscale",
        save_computed=False,
        upscales=True,
    )
    register(name="hdmap", help="A rendered road map.", checkpoint=f"{driving}/hdmap_control.pt", driving=True)
    register(name="lidar", help="Rendered laser points.", checkpoint=f"{driving}/lidar_control.pt", driving=True)


@hookimpl
def cosmos_register_recipes(register: RegisterRecipes) -> None:
    register(
        name="transfer1",
        help="Post-trainings of control branches.",
        family="transfer",
        recipes="cosmos_plugins.transfer1.recipes:RECIPES",
    )


@hookimpl
def cosmos_register_demos(register: RegisterDemo) -> None:
    register(
        name="edge", help="Transfer1 makes a clip anew under its edges.", part="cosmos_plugins.transfer1.demo:edge"
    )
    register(
        name="depth",
        help="Transfer1 follows the depth of a clip where a weight map lets it.",
        part="cosmos_plugins.transfer1.demo:depth",
    )
