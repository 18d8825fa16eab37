"""How every test starts Chromium."""

CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--headless=new",
    "--use-fake-ui-for-media-stream",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
"""No prompts, no network of its own; a test adds its camera."""
