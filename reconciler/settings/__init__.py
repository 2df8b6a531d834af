"""What the program is told about itself: the settings in typed sections, the access keys, and the files that name them.

Each setting is written once, in its section: its type, its default, its bounds, who may set it. Options, environment,
file, the JSON Schema and the reference follow from that. What must never happen here: a setting that was merely found
widening what the program may do; a key kept as a value where the name of a file or of a variable would do.
"""

from reconciler import face

TYPE_CHECKING = False
if TYPE_CHECKING:
    from reconciler.settings.content import read_settings as read_settings
    from reconciler.settings.files import NO_WORKING_DIRECTORY as NO_WORKING_DIRECTORY
    from reconciler.settings.files import SMALL_BYTES as SMALL_BYTES
    from reconciler.settings.files import append_regular as append_regular
    from reconciler.settings.files import check_inside as check_inside
    from reconciler.settings.files import has_working_directory as has_working_directory
    from reconciler.settings.files import read_regular as read_regular
    from reconciler.settings.files import stamp_of as stamp_of
    from reconciler.settings.files import working_folder as working_folder
    from reconciler.settings.files import write_named as write_named
    from reconciler.settings.files import write_new as write_new
    from reconciler.settings.files import write_whole as write_whole
    from reconciler.settings.keys import KEY_FILE_VARIABLE as KEY_FILE_VARIABLE
    from reconciler.settings.keys import KEY_VARIABLE as KEY_VARIABLE
    from reconciler.settings.keys import KeyRing as KeyRing
    from reconciler.settings.keys import KeySource as KeySource
    from reconciler.settings.keys import read_token as read_token
    from reconciler.settings.place import cache_folder as cache_folder
    from reconciler.settings.place import exposed_folder as exposed_folder
    from reconciler.settings.place import is_our_folder as is_our_folder
    from reconciler.settings.place import make_state_folder as make_state_folder
    from reconciler.settings.place import mirrors_folder as mirrors_folder
    from reconciler.settings.place import state_address as state_address
    from reconciler.settings.place import state_folder as state_folder
    from reconciler.settings.place import state_path as state_path
    from reconciler.settings.sections import SECTIONS as SECTIONS
    from reconciler.settings.sections import ApiSettings as ApiSettings
    from reconciler.settings.sections import DaemonSettings as DaemonSettings
    from reconciler.settings.sections import DocumentSettings as DocumentSettings
    from reconciler.settings.sections import HookSettings as HookSettings
    from reconciler.settings.sections import LimitSettings as LimitSettings
    from reconciler.settings.sections import LogSettings as LogSettings
    from reconciler.settings.sections import PaceSettings as PaceSettings
    from reconciler.settings.sections import PageSettings as PageSettings
    from reconciler.settings.sections import Settings as Settings
    from reconciler.settings.sections import SignatureSettings as SignatureSettings
    from reconciler.settings.sections import SourceSettings as SourceSettings
    from reconciler.settings.sections import StoreSettings as StoreSettings
    from reconciler.settings.setting import ENVIRONMENT_PREFIX as ENVIRONMENT_PREFIX
    from reconciler.settings.setting import Setting as Setting
    from reconciler.settings.table import CONFIG_VARIABLE as CONFIG_VARIABLE
    from reconciler.settings.table import DEFAULT_FILE as DEFAULT_FILE
    from reconciler.settings.table import SETTINGS_PATH as SETTINGS_PATH
    from reconciler.settings.table import is_service_link as is_service_link
else:
    __getattr__ = face(
        __name__,
        {
            "content": ("read_settings",),
            "files": (
                "NO_WORKING_DIRECTORY",
                "SMALL_BYTES",
                "append_regular",
                "check_inside",
                "has_working_directory",
                "read_regular",
                "stamp_of",
                "working_folder",
                "write_named",
                "write_new",
                "write_whole",
            ),
            "keys": (
                "KEY_FILE_VARIABLE",
                "KEY_VARIABLE",
                "KeyRing",
                "KeySource",
                "read_token",
            ),
            "place": (
                "cache_folder",
                "exposed_folder",
                "is_our_folder",
                "make_state_folder",
                "mirrors_folder",
                "state_address",
                "state_folder",
                "state_path",
            ),
            "sections": (
                "ApiSettings",
                "DaemonSettings",
                "DocumentSettings",
                "HookSettings",
                "LimitSettings",
                "LogSettings",
                "PaceSettings",
                "PageSettings",
                "SECTIONS",
                "Settings",
                "SignatureSettings",
                "SourceSettings",
                "StoreSettings",
            ),
            "setting": (
                "ENVIRONMENT_PREFIX",
                "Setting",
            ),
            "table": (
                "CONFIG_VARIABLE",
                "DEFAULT_FILE",
                "SETTINGS_PATH",
                "is_service_link",
            ),
        },
    )
