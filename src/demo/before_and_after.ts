/** What the demo says before and after its story. */
import { type Cast, DOMAIN } from "./cast.ts";

const COMPILED = Bun.main.startsWith("/$bunfs/");
const DEMO = COMPILED ? "latefork demo" : "npm start --";

/** Who takes part, and the config latefork runs with. */
export function opening(cast: Cast): string {
  const config = cast.config.trimEnd().split("\n").map((line) => `    ${line}\n`).join("");
  return `latefork demo: a PBX with digest passwords, sleeping phones, and a push receiver.
All of it on 127.0.0.1, real sockets and a real database in a temporary folder.

  PBX          udp 127.0.0.1:${cast.pbx.port}   asks every REGISTER for its password; knows nothing of push
  latefork     udp and tcp 127.0.0.1:${cast.ports.sip}, tls ${cast.ports.tls}, wss ${cast.ports.wss}, control port ${cast.box.controlUrl}
  push acme    ${cast.receiver.url}/wake   wakes a phone when it is told to
  phones       alice: a desk phone (udp) and a mobile (tcp); carol: a mobile (tls); dave: a web page (wss)

The whole config:

${config}`;
}

/** After a demo that ended. */
export function afterwards(): string {
  return `
What to try next

  play with it
    ${`${DEMO} --stay`.padEnd(22)} keeps all of this running and prints curl lines for it
  beside your own PBX
${
    COMPILED
      ? ""
      : "    npm run build          makes the program latefork: dist/latefork-...\n"
  }    latefork init          writes latefork.yaml: set pbx.uri and push.webhook in it
    latefork check         says everything that is wrong with it
    latefork serve         runs it
  look inside
    curl -s 'http://127.0.0.1:8060/v1/status?format=text'        PBX, counts, push, problems on one screen
    curl -s 'http://127.0.0.1:8060/v1/locations?format=text'     who is registered, who can be woken
    curl -s 'http://127.0.0.1:8060/v1/calls?format=text'         calls; each has a ladder like the one above:
    curl -s http://127.0.0.1:8060/v1/calls/ID/ladder
    curl -s 'http://127.0.0.1:8060/?format=text'                 every route with its curl line
`;
}

/** With `--stay`, once the story is over. */
export function staying(cast: Cast): string {
  const url = cast.box.controlUrl;
  const button = cast.receiver.url;
  return `
Everything stays up until Ctrl-C. In another terminal:

  have the PBX call somebody who is asleep, and look at the call
    curl -sX POST ${button}/call/alice
    curl -s '${url}/v1/calls?format=text'
    curl -s ${url}/v1/calls/$(curl -s ${url}/v1/calls | grep -o '"id":"[^"]*' | head -1 | cut -c7-)/ladder

  who is registered, and what is going on
    curl -s '${url}/v1/status?format=text'
    curl -s '${url}/v1/locations?format=text'
    curl -sN ${url}/v1/events

  send a test push to alice's mobile
    curl -sX POST ${url}/v1/push -d '{"aor":"alice@${DOMAIN}"}'

  every route with its curl line
    curl -s '${url}/?format=text'
`;
}
