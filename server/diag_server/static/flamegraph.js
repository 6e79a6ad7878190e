// speedscope is told by the address's hash which profile to show; an address without one means this page's own.
"use strict";

if (!location.hash) history.replaceState(null, "", `#${document.currentScript.dataset.hash}`);
