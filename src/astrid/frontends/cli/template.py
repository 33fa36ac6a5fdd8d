"""The commented configuration that ``astrid init`` writes: every key, with its default, switched off.

Source: the first Astrid; a test reads it back with the runtime's own loader, as it is and with every key switched on.
"""

TEMPLATE = """\
# The configuration of Astrid.  Every key below shows its default and is switched off; remove the `#` before a key to
# change it.  A key that does not exist, or a value that makes no sense, is an error: nothing starts until it is mended.
# What the administrator of this machine forbids in /etc/astrid/config.toml stays forbidden.

[model]
# model = ""                     # provider/name, such as "anthropic/claude-sonnet-5"
# max_tokens = 4096              # the longest answer
# fallback = []                  # models that stand in for it when it fails
# api_url = ""                   # empty: the vendor's own

# What a model costs, in dollars per million tokens.  Without a price a model is not used, since no budget could hold.
# [models."provider/name"]
# input_usd_per_million = "3.00"
# output_usd_per_million = "15.00"
# free = false                   # true in place of both prices
# cache_write_usd_per_million = ""   # empty: a quarter more than input
# cache_read_usd_per_million = ""    # empty: the same as input
# context_window = 100000
# images = "auto"                # "yes", "no"; auto: Anthropic's models take images

# An OpenAI-compatible server, and the variable that holds its key; its models are called name/...
# [providers.name]
# base_url = "http://127.0.0.1:9000/v1"
# key_variable = ""
# key_file = ""                  # in place of a variable: a file of yours with mode 0600
# key_fd = 0                     # or a descriptor that is open when the daemon starts
# key_secret = ""                # or the name of one of `astrid secrets list`

# Short names for models.
[aliases]
# fast = "anthropic/claude-haiku-4-5"

[budget]
# session_max_usd = "100.00"
# per_action_max_usd = "10.00"
# workspace_max_usd = ""         # over all sessions of a workspace; empty: no cap
# warn_at_percent = 80           # tell when so much of a purse is spent

[security]
# approval_timeout_secs = 300    # how long a session waits for you before it goes on without

# What may never happen, whatever you sign.
[security.policy]
# blocked_tools = ["rm -rf /", "rm -rf /*", "sudo", "su", "mkfs", "dd", "chmod 777", "shutdown", "reboot", "init"]
# approval_required_tools = []   # ask about these tools each single time
# allowed_paths = []             # if not empty, nothing outside of these
# denied_paths = ["/etc/**", "/boot/**", "/sys/**", "/proc/**", "/dev/**"]
# allowed_hosts = []             # if not empty, no other host
# denied_hosts = []
# max_argument_size = 1048576    # the longest arguments of a call, in bytes; 0: no limit
# require_approval_for_delete = true
# require_approval_for_network = true
# blocked_plugins = []

[workspace]
# mode = "safe"                  # of a session that names none: safe, guided or autonomous
# keep_mb = 1024                # of what files held before a tool changed them; 0: nothing is kept

[context]
# compact_at_percent = 85        # of the model's window: from there on a conversation is summed up to make room
# keep_recent = 10               # its last messages that stay as they are

[runtime]
# max_turns = 50                 # how many model calls one input may lead to
# idle_secs = 300                # how long a session does nothing, and nobody listens to it, before it goes to sleep

[agents]
# concurrent = 5                 # how many sub-agents work at once
# queue = 100                    # how many tasks may wait for that
# timeout_secs = 300             # how long a task may take that does not say

[sandbox]
# least = "l0"                   # the least box in which a command may run: l1, l0, or none
# memory_mb = 4096               # how much a command may hold, with all that it starts
# processes = 512                # how many processes that may be
# growth_mb = 2048               # how much it may add to the workspace
"""
