/**
 * Senders for public push services (P-11), each in the words that an admin would write: data alone. The README.md beside
 * the code that sends says what was tried of them and what was not.
 *
 * An event that the service has nothing for is null. Where a token is part of no URL, 404 is an address that is wrong.
 */
import type { WrittenMap } from "./sender.ts";

/** A call that was not answered, as people read it. */
const MISSED = "Missed call";
const INCOMING = "Incoming call: open the app to answer";

export const PRESETS: Readonly<Record<string, WrittenMap>> = {
  // doc.acrobits.net, "SIPIS-less push calls" and "Push Notifications over HTTP". pn-param: APPID[,OTHERAPPID];
  // pn-prid: TOKEN,SELECTOR[,OTHERTOKEN]. The second app id and the third part are those of "other" pushes (iOS).
  acrobits: {
    url: "https://pnm.cloudsoftphone.com/pnm2/send",
    events: {
      call: {
        json: {
          verb: "NotifyIncomingCall",
          AppId: "{param.1}",
          DeviceToken: "{prid.1}",
          Selector: "{prid.2}",
          Id: "{call_id|uuid}",
          UserName: "{from_user?}",
          UserDisplayName: "{from_name?}",
        },
      },
      // The verb that ends the ringing says that the call was missed.
      cancel: {
        json: {
          verb: "NotifyIncomingCallMissed",
          AppId: "{param.1}",
          DeviceToken: "{prid.1}",
          Selector: "{prid.2}",
          Id: "{call_id}",
          UserName: "{from_user?}",
          UserDisplayName: "{from_name?}",
        },
      },
      answered_elsewhere: {
        json: {
          verb: "NotifyIncomingCallAnsweredElsewhere",
          AppId: "{param.1}",
          DeviceToken: "{prid.1}",
          Selector: "{prid.2}",
          Id: "{call_id}",
        },
      },
      missed: null,
      message: {
        json: {
          verb: "NotifyTextMessage",
          AppId: "{param.2|param.1}",
          DeviceToken: "{prid.3|prid.1}",
          Selector: "{prid.2}",
          UserName: "{from_user?}",
          UserDisplayName: "{from_name?}",
          Sound: "default",
        },
      },
      refresh: null,
    },
    answers: {
      accepted: { field: "code", is: 200 },
      dead: [{ field: "code", is: 404 }, { field: "code", is: 410 }],
      retry: [429, "5xx", { field: "code", is: 429 }, { field: "code", is: 500 }, { field: "code", is: 503 }],
      refused: 404,
    },
  },

  // The fields that CellBridge and sip-push send; the maker has no public documentation.
  yak: {
    url: "https://push.yakteam.com/v1/notify",
    events: {
      call: {
        json: { token: "{prid}", caller_uri: "{caller_uri}", caller_name: "{caller}", type: "voip" },
      },
      cancel: null,
      missed: {
        json: { token: "{prid}", caller_uri: "{caller_uri}", caller_name: "{caller}", type: "missed" },
      },
      message: {
        json: {
          token: "{prid}",
          caller_uri: "{caller_uri}",
          caller_name: "{caller}",
          type: "message",
          message_body: "New message",
        },
      },
      refresh: null,
    },
    answers: { dead: [410, { field: "error", is: "invalid token format" }], refused: 404 },
  },

  // FlexiAPI of flexisip-account-manager: POST /api/push_notification. It knows one token a push.
  flexiapi: {
    headers: { accept: "application/json", "x-api-key": "{token}" },
    events: {
      call: {
        json: {
          pn_provider: "{provider}",
          pn_param: "{call_param}",
          pn_prid: "{call_prid}",
          type: "call",
          call_id: "{plain_call_id?}",
        },
      },
      cancel: null,
      missed: null,
      message: {
        json: {
          pn_provider: "{provider}",
          pn_param: "{other_param}",
          pn_prid: "{other_prid}",
          type: "message",
          call_id: "{plain_call_id?}",
        },
      },
      refresh: {
        json: { pn_provider: "{provider}", pn_param: "{other_param}", pn_prid: "{other_prid}", type: "background" },
      },
    },
    answers: { refused: 404 },
    ask: "/api/accounts/me",
  },

  // docs.ntfy.sh/publish. pn-prid is the topic. Withdrawn by DELETE (ntfy 2.16, Android 1.22).
  ntfy: {
    url: "https://ntfy.sh/{prid}",
    headers: { authorization: "Bearer {token?}" },
    events: {
      call: {
        headers: {
          title: "{caller}",
          priority: "max",
          tags: "telephone_receiver",
          click: "{wake_url?}",
          "x-sequence-id": "{call_key?}",
        },
        text: INCOMING,
      },
      cancel: { method: "DELETE", path: "/{call_key}", text: null },
      missed: {
        headers: { title: "{caller}", priority: "default", tags: "telephone_receiver", click: "{wake_url?}" },
        text: MISSED,
      },
      message: {
        headers: { title: "{caller}", priority: "high", tags: "speech_balloon", click: "{wake_url?}" },
        text: "New message",
      },
      refresh: null,
    },
    answers: { refused: 404 },
    ask: "/v1/account",
  },

  // bark.day.app, "Request Parameters". pn-prid is the device key. Withdrawn by id (Bark 1.5.2, bark-server 2.2.5).
  bark: {
    url: "https://api.day.app/push",
    events: {
      call: {
        json: {
          device_key: "{prid}",
          title: "{caller}",
          body: INCOMING,
          level: "timeSensitive",
          call: "1",
          sound: "multiwayinvitation",
          group: "calls",
          url: "{wake_url?}",
          id: "{call_key?}",
          isArchive: "0",
        },
      },
      cancel: { json: { device_key: "{prid}", id: "{call_key}", delete: "1" } },
      missed: {
        json: {
          device_key: "{prid}",
          title: "{caller}",
          body: MISSED,
          level: "active",
          group: "calls",
          url: "{wake_url?}",
        },
      },
      message: {
        json: {
          device_key: "{prid}",
          title: "{caller}",
          body: "New message",
          level: "timeSensitive",
          group: "messages",
          url: "{wake_url?}",
        },
      },
      refresh: null,
    },
    answers: {
      dead: ["failed to get device token", "BadDeviceToken", "Unregistered"],
      refused: 404,
    },
    ask: "/ping",
  },

  // gotify.net/docs: POST /message. pn-prid is the token of an application; a message cannot be withdrawn with it.
  gotify: {
    headers: { "x-gotify-key": "{prid}" },
    events: {
      call: {
        json: {
          title: "{caller}",
          message: INCOMING,
          priority: 10,
          extras: {
            "client::notification": { click: { url: "{wake_url?}" } },
            "android::action": { onReceive: { intentUrl: "{wake_url?}" } },
          },
        },
      },
      cancel: null,
      missed: {
        json: {
          title: "{caller}",
          message: MISSED,
          priority: 4,
          extras: { "client::notification": { click: { url: "{wake_url?}" } } },
        },
      },
      message: {
        json: {
          title: "{caller}",
          message: "New message",
          priority: 7,
          extras: { "client::notification": { click: { url: "{wake_url?}" } } },
        },
      },
      refresh: null,
    },
    answers: { dead: { field: "errorCode", is: 401 }, refused: 404 },
    ask: "/health",
  },

  // pushover.net/api. pn-prid is the user key, pn-param the device's name or nothing. A message takes itself away (ttl).
  pushover: {
    url: "https://api.pushover.net/1/messages.json",
    events: {
      call: {
        form: {
          token: "{token}",
          user: "{prid}",
          device: "{param?}",
          title: "{caller}",
          message: INCOMING,
          priority: "1",
          sound: "persistent",
          ttl: "{ttl}",
          url: "{wake_url?}",
          timestamp: "{sent_unix}",
        },
      },
      cancel: null,
      missed: {
        form: {
          token: "{token}",
          user: "{prid}",
          device: "{param?}",
          title: "{caller}",
          message: MISSED,
          priority: "0",
          url: "{wake_url?}",
          timestamp: "{sent_unix}",
        },
      },
      message: {
        form: {
          token: "{token}",
          user: "{prid}",
          device: "{param?}",
          title: "{caller}",
          message: "New message",
          priority: "1",
          url: "{wake_url?}",
          timestamp: "{sent_unix}",
        },
      },
      refresh: null,
    },
    // 429: the month's messages are spent.
    answers: { dead: { field: "user", is: "invalid" }, refused: [404, 429] },
    ask: "/1/apps/limits.json?token={token}",
  },

  // companion.home-assistant.io, "Notification Commands". pn-prid is the notify service (mobile_app_NAME), pn-param the
  // Android package that is started. It starts without a tap, and so quietly for a refresh, too.
  homeassistant: {
    headers: { authorization: "Bearer {token}" },
    events: {
      call: {
        json: {
          message: "command_launch_app",
          data: { package_name: "{param}", ttl: 0, priority: "high" },
        },
      },
      cancel: null,
      missed: {
        json: {
          title: "{caller}",
          message: MISSED,
          data: { tag: "{call_key?}", clickAction: "app://{param}", ttl: 0, priority: "high" },
        },
      },
      message: {
        json: {
          message: "command_launch_app",
          data: { package_name: "{param}", ttl: 0, priority: "high" },
        },
      },
      refresh: null,
    },
    answers: { refused: 404 },
    ask: "/api/",
  },
};
