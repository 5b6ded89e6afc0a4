// The dashboard: events go into the state, the state goes into the views, at most once a frame.

import { byId } from "../page/dom.js";
import { texts } from "./texts.js";
import { initial, reduce } from "./state.js";
import { listen } from "./stream.js";
import { makeActions } from "./actions.js";
import { answerOtherTabs } from "./secret.js";
import { askForToken, isSignedIn, wireSession } from "./session.js";
import { dismiss } from "./dialog.js";
import { figuresView } from "./figures.js";
import { failingView } from "./failing.js";
import { mapView } from "./map.js";
import { peersView } from "./peers.js";
import { detailsView } from "./peer-row.js";
import { sharesView } from "./shares.js";
import { logView, workView } from "./work.js";
import { plotsView } from "./plots.js";
import { invitesView } from "./invites.js";

/** @typedef {import("./state.js").Event} Event */
/** @typedef {import("./state.js").State} State */
/** @typedef {import("./parts.js").View} View */

/** Pause before a tracker that does not answer is asked again. */
const AGAIN_MS = 3_000;

/** @type {State} */
let state = initial;
let drawn = initial;
let isDue = false;
/** @type {(() => void)|null} stops listening */
let stop = null;

const actions = makeActions(tell, () => state, () => end(texts.session.ended));
const peers = peersView(tell, actions);
/** @type {View[]} */
const views = [
  figuresView(),
  failingView(),
  mapView(tell, peers.show),
  detailsView(actions, peers.show),
  peers,
  sharesView(actions),
  workView(),
  plotsView(),
  logView(),
  invitesView(actions),
];

/** @param {Event} event */
function tell(event) {
  state = reduce(state, event);
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const before = drawn;
    drawn = state;
    for (const view of views) view.update(drawn, before);
  });
}

setInterval(() => {
  if (stop === null || document.hidden) return;
  const now_ms = Date.now() + drawn.clock_ms;
  for (const view of views) view.tick?.(now_ms);
}, 1_000);

function begin() {
  if (stop !== null) return;
  byId("sign-in").hidden = true;
  byId("sign-out").hidden = false;
  byId("dashboard").hidden = false;
  stop = listen(tell, () => end(texts.session.ended));
  void actions.loadShares();
  void actions.loadInvites();
}

/** @param {string} reason shown above the form */
function end(reason) {
  if (stop === null) return;
  stop();
  stop = null;
  actions.leave();
  dismiss();
  byId("dashboard").hidden = true;
  byId("sign-out").hidden = true;
  // Nothing of the swarm stays in the page.
  tell({ type: "signed-out" });
  askForToken(reason);
}

async function start() {
  const known = await isSignedIn();
  byId("connection").hidden = known !== null;
  byId("connection").textContent = known === null ? texts.connection.lost : "";
  if (known === null) setTimeout(start, AGAIN_MS);
  else if (known) begin();
  else askForToken("");
}

byId("skip").onclick = (event) => {
  event.preventDefault();
  byId("main").focus();
};
wireSession(begin, () => end(""));
answerOtherTabs();
void start();
