//! The Admin API over its real sockets: every method, every class of refusal that can be provoked without a qube.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use admin::ErrorClass::{self, *};
use common::{Site, exchange};

#[test]
fn framing_errors_get_no_answer() {
    let site = Site::new();
    let long = [b"admin.vm.List dom0 name dom0\0".as_slice(), &[b'x'; 65_536]].concat();
    for bad in [&b""[..], b"\0", b"admin.vm.List dom0 name dom0", b"admin.vm.List dom0 keyword x\0", &long] {
        assert_eq!(site.raw(bad), b"", "{:?}", &bad[..bad.len().min(40)]);
    }
}

#[test]
fn checks_before_a_method_in_the_order_of_the_specification() {
    let site = Site::new();
    let not_found = b"2\0QubesVMNotFoundError\0\0No such domain: 'nosuch'\0";
    assert_eq!(site.raw(b"admin.vm.List nosuch name dom0\0"), not_found);
    assert_eq!(site.raw(b"no.Method dom0 name nosuch\0x"), not_found);
    let no_method = b"2\0ProtocolError\0\0no such method: 'no.Method'\0";
    assert_eq!(site.raw(b"no.Method dom0 name dom0\0x"), no_method);
    let internal = b"2\0ProtocolError\0\0no such method: 'internal.GetSystemInfo'\0";
    assert_eq!(site.raw(b"internal.GetSystemInfo dom0 name dom0\0"), internal);
    for (request, message) in [
        ("admin.vm.List+ dom0 name dom0\0x", "unexpected payload"),
        ("admin.vm.List+x dom0 name dom0\0", "unexpected argument"),
        ("admin.vm.property.Get dom0 name dom0\0", "expected an argument"),
        ("admin.vm.Create.AppVM dom0 name dom0\0", "expected payload"),
        ("admin.property.Get+x dom0 name work\0", "expected destination to be AdminVM"),
        ("admin.vm.Pause dom0 name dom0\0", "expected destination to not be AdminVM"),
        ("admin.Events+x dom0 name dom0\0", "unexpected argument"),
    ] {
        let answer = format!("2\0ProtocolError\0\0{message}\0");
        assert_eq!(site.raw(request.as_bytes()), answer.as_bytes(), "{request}");
    }
    let bad_uuid = site.raw(b"admin.vm.List dom0 name uuid:1\0");
    assert_eq!(bad_uuid, b"2\0QubesVMInvalidUUIDError\0\0VM UUID is not valid: 'uuid:1'\0");
    assert!(site.raw(b"admin.vm.List dom0 name ../x\0").starts_with(b"2\0QubesValueError\0"));
    let by_keyword = site.raw(b"admin.vm.List dom0 keyword adminvm\0");
    assert_eq!(by_keyword, site.raw(b"admin.vm.List dom0 name uuid:00000000-0000-0000-0000-000000000000\0"));
}

#[test]
fn lists() {
    let site = Site::new();
    let list = site.admin().list().unwrap();
    let names: Vec<&str> = list.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["default-dvm", "dom0", "system", "vault", "work"]);
    let work = site.admin().qube(&common::qube("work")).unwrap();
    assert_eq!((work.class.as_str(), work.state.as_str()), ("AppVM", "Halted"));
    let state = site.text("admin.vm.CurrentState", "", "work", b"");
    assert_eq!(state, "mem=0 mem_static_max=0 cputime=0 power_state=Halted");
    assert!(site.text("admin.vm.CurrentState", "", "dom0", b"").ends_with("power_state=Running"));
    assert_eq!(site.text("admin.vmclass.List", "", "dom0", b""), "AdminVM\nAppVM\nDispVM\nTemplateVM\n");
    let labels = "red\norange\nyellow\ngreen\ngray\nblue\npurple\nblack\n";
    assert_eq!(site.text("admin.label.List", "", "dom0", b""), labels);
    assert_eq!(site.text("admin.label.Get", "blue", "dom0", b""), "0x3465a4");
    assert_eq!(site.text("admin.label.Index", "blue", "dom0", b""), "6");
    let seen_by_qube = site.raw(b"admin.vm.List work name dom0\0");
    assert!(seen_by_qube.starts_with(b"2\0PermissionDenied\0"));
}

#[test]
fn properties() {
    let site = Site::new();
    let text = |method: &str, arg: &str, dest: &str, payload: &[u8]| site.text(method, arg, dest, payload);
    assert!(text("admin.vm.property.List", "", "work", b"").contains("default_dispvm\n"));
    assert_eq!(text("admin.vm.property.Get", "memory", "work", b""), "default=True type=int 400");
    assert_eq!(text("admin.vm.property.GetDefault", "memory", "work", b""), "type=int 400");
    assert_eq!(text("admin.vm.property.GetDefault", "template", "work", b""), "");
    assert_eq!(text("admin.vm.property.Set", "memory", "work", b"500"), "");
    assert_eq!(text("admin.vm.property.Get", "memory", "work", b""), "default=False type=int 500");
    let all = text("admin.vm.property.GetAll", "", "work", b"");
    assert!(
        all.contains("memory default=False type=int 500\n")
            && all.contains("name default=False type=str work\n")
    );
    assert_eq!(text("admin.vm.property.Reset", "memory", "work", b""), "");
    assert_eq!(text("admin.vm.property.Get", "memory", "work", b""), "default=True type=int 400");
    assert!(!text("admin.vm.property.Help", "memory", "work", b"").is_empty());
    assert_eq!(
        text("admin.property.Get", "default_dispvm", "dom0", b""),
        "default=False type=vm default-dvm"
    );
    assert_eq!(text("admin.property.GetDefault", "default_dispvm", "dom0", b""), "type=vm ");
    assert!(text("admin.property.List", "", "dom0", b"").contains("default_template\n"));
    assert!(
        text("admin.property.GetAll", "", "dom0", b"")
            .contains("default_template default=False type=vm system\n")
    );
    text("admin.property.Set", "default_qrexec_timeout", "dom0", b"30");
    assert_eq!(text("admin.vm.property.Get", "qrexec_timeout", "work", b""), "default=True type=int 30");
    text("admin.property.Reset", "default_qrexec_timeout", "dom0", b"");
    assert!(!text("admin.property.Help", "default_template", "dom0", b"").is_empty());
    let refused: [(&str, &str, &str, &[u8], ErrorClass); 8] = [
        ("admin.vm.property.Get", "nosuch", "work", b"", QubesNoSuchPropertyError),
        ("admin.vm.property.Set", "nosuch", "work", b"x", QubesNoSuchPropertyError),
        ("admin.vm.property.Set", "memory", "work", b"x", QubesValueError),
        ("admin.vm.property.Set", "label", "work", b"pink", QubesLabelNotFoundError),
        ("admin.vm.property.Set", "default_dispvm", "work", b"vault", QubesPropertyValueError),
        ("admin.vm.property.Set", "template_for_dispvms", "default-dvm", b"no", QubesVMInUseError),
        ("admin.property.Set", "default_dispvm", "dom0", b"work", QubesPropertyValueError),
        ("admin.property.Get", "nosuch", "dom0", b"", QubesNoSuchPropertyError),
    ];
    for (method, arg, dest, payload, class) in refused {
        assert_eq!(site.refusal(method, arg, dest, payload), class, "{method}+{arg}");
    }
}

#[test]
fn features_and_tags() {
    let site = Site::new();
    let text = |method: &str, arg: &str, dest: &str, payload: &[u8]| site.text(method, arg, dest, payload);
    text("admin.vm.feature.Set", "f", "system", b"from template");
    text("admin.vm.feature.Set", "g", "dom0", b"from dom0");
    text("admin.vm.feature.Set", "h", "work", b"");
    assert_eq!(text("admin.vm.feature.Get", "h", "work", b""), "");
    assert_eq!(text("admin.vm.feature.CheckWithTemplate", "f", "work", b""), "from template");
    assert_eq!(text("admin.vm.feature.CheckWithAdminVM", "g", "work", b""), "from dom0");
    assert_eq!(text("admin.vm.feature.CheckWithTemplateAndAdminVM", "f", "work", b""), "from template");
    assert_eq!(text("admin.vm.feature.CheckWithTemplateAndAdminVM", "g", "work", b""), "from dom0");
    assert_eq!(text("admin.vm.feature.CheckWithNetvm", "h", "work", b""), "");
    assert!(text("admin.vm.feature.List", "", "work", b"").contains("h\n"));
    text("admin.vm.feature.Remove", "h", "work", b"");
    text("admin.vm.tag.Set", "x", "work", b"");
    assert_eq!(text("admin.vm.tag.Get", "x", "work", b""), "1");
    assert_eq!(text("admin.vm.tag.List", "", "work", b""), "x\n");
    text("admin.vm.tag.Remove", "x", "work", b"");
    assert_eq!(text("admin.vm.tag.Get", "x", "work", b""), "0");
    let refused: [(&str, &str, &str, &[u8], ErrorClass); 9] = [
        ("admin.vm.feature.Get", "h", "work", b"", QubesFeatureNotFoundError),
        ("admin.vm.feature.Get", "g", "work", b"", QubesFeatureNotFoundError),
        ("admin.vm.feature.Remove", "h", "work", b"", QubesFeatureNotFoundError),
        ("admin.vm.feature.Set", "a/b", "work", b"", ProtocolError),
        ("admin.vm.feature.Set", "a", "work", b"\n", ProtocolError),
        ("admin.vm.feature.Set", "deferred-netvm-original", "work", b"x", PermissionDenied),
        ("admin.vm.feature.Set", "preload-dispvm-max", "default-dvm", b"x", QubesValueError),
        ("admin.vm.tag.Remove", "x", "work", b"", QubesTagNotFoundError),
        ("admin.vm.tag.Set", "a.b", "work", b"", QubesInvalidTagError),
    ];
    for (method, arg, dest, payload, class) in refused {
        assert_eq!(site.refusal(method, arg, dest, payload), class, "{method}+{arg}");
    }
    let by_qube = site.raw(b"admin.vm.feature.Set+preload-dispvm work name default-dvm\0");
    assert!(by_qube.starts_with(b"2\0PermissionDenied\0"));
}

#[test]
fn creating_and_removing() {
    let site = Site::new();
    let create = |class: &str, template: &str, payload: &str| {
        site.text(&format!("admin.vm.Create.{class}"), template, "dom0", payload.as_bytes())
    };
    create("AppVM", "system", "name=mail label=green");
    create("AppVM", "", "label=green name=chat");
    create("DispVM", "default-dvm", "name=my-disp label=red");
    create("TemplateVM", "", "name=other label=black");
    assert!(site.layout.private("mail").is_dir());
    assert_eq!(site.text("admin.vm.tag.List", "", "mail", b""), "created-by-dom0\n");
    assert_eq!(
        site.text("admin.vm.property.Get", "auto_cleanup", "my-disp", b""),
        "default=True type=bool False"
    );
    let file = std::fs::read_to_string(site.layout.qubes_file()).unwrap();
    assert!(file.contains("[qubes.mail]") && file.contains("[qubes.my-disp]"), "saved at once");
    site.text("admin.vm.Remove", "", "mail", b"");
    assert!(!site.layout.qube("mail").exists());
    assert!(!std::fs::read_to_string(site.layout.qubes_file()).unwrap().contains("mail"));
    let refused: [(&str, &str, &str, &[u8], ErrorClass); 12] = [
        ("admin.vm.Create.AppVM", "system", "dom0", b"name=x", ProtocolError),
        ("admin.vm.Create.AppVM", "system", "dom0", b"label=red", ProtocolError),
        ("admin.vm.Create.AppVM", "system", "dom0", b"name=x label=red name=y", ProtocolError),
        ("admin.vm.Create.AppVM", "system", "dom0", b"name=x label=red pool=p", ProtocolError),
        ("admin.vm.Create.AppVM", "system", "dom0", b"name=work label=red", QubesVMAlreadyExistsError),
        ("admin.vm.Create.AppVM", "nosuch", "dom0", b"name=x label=red", QubesVMNotFoundError),
        ("admin.vm.Create.AppVM", "system", "dom0", b"name=../x label=red", QubesValueError),
        ("admin.vm.Create.DispVM", "work", "dom0", b"name=x label=red", QubesValueError),
        ("admin.vm.Create.TemplateVM", "system", "dom0", b"name=x label=red", ProtocolError),
        ("admin.vm.Create.RemoteVM", "", "dom0", b"name=x label=red", QubesNotImplementedError),
        ("admin.vm.Remove", "", "dom0", b"", QubesVMInUseError),
        ("admin.vm.Remove", "", "default-dvm", b"", QubesVMInUseError),
    ];
    for (method, arg, dest, payload, class) in refused {
        assert_eq!(site.refusal(method, arg, dest, payload), class, "{method}+{arg} {payload:?}");
    }
}

#[test]
fn r14_disposables_are_created_but_not_started() {
    let site = Site::new();
    let name = site.text("admin.vm.CreateDisposable", "", "default-dvm", b"");
    assert!(name.starts_with("disp"));
    let tags = site.text("admin.vm.tag.List", "", &name, b"");
    assert!(tags.contains("created-by-dom0\n") && tags.contains("disp-created-by-dom0\n"), "{tags}");
    let uuid = site.admin().create_disposable(&common::qube("default-dvm")).unwrap();
    let line = site.admin().qube(&names::QubeRef::Uuid(uuid)).unwrap();
    assert_eq!((line.class.as_str(), line.state.as_str()), ("DispVM", "Halted"));
    // dom0 as destination means the source's own default.
    let of_work = site.raw(b"admin.vm.CreateDisposable work name dom0\0");
    assert!(of_work.starts_with(b"0\0disp"), "{of_work:?}");
    assert!(site.raw(b"admin.vm.CreateDisposable vault name dom0\0").starts_with(b"2\0QubesException\0"));
    assert_eq!(site.text("admin.vm.CreateDisposable", "preload", "default-dvm", b"ignored"), "");
    let refused: [(&str, &str, &[u8], ErrorClass); 3] = [
        ("x", "default-dvm", b"", PermissionDenied),
        ("", "default-dvm", b"name", ProtocolError),
        ("", "work", b"uuid", QubesException),
    ];
    for (arg, dest, payload, class) in refused {
        assert_eq!(site.refusal("admin.vm.CreateDisposable", arg, dest, payload), class, "{arg} {dest}");
    }
    site.text("admin.vm.Remove", "", &name, b"");
    let saved = std::fs::read_to_string(site.layout.qubes_file()).unwrap();
    assert!(!saved.contains("[qubes.disp"), "promise P6: disposables are never in the file");
}

#[test]
fn starts_and_ends_that_are_refused() {
    let site = Site::new();
    for (method, arg, dest, class) in [
        ("admin.vm.Start", "", "dom0", QubesVMNotHaltedError),
        ("admin.vm.Kill", "", "dom0", QubesVMError),
        ("admin.vm.Kill", "", "work", QubesVMNotStartedError),
        ("admin.vm.Pause", "", "work", QubesVMNotRunningError),
        ("admin.vm.Unpause", "", "work", QubesVMNotPausedError),
        ("admin.vm.Shutdown", "", "work", QubesVMNotStartedError),
        ("admin.vm.Shutdown", "now", "work", ProtocolError),
    ] {
        assert_eq!(site.refusal(method, arg, dest, b""), class, "{method} on {dest}");
    }
    site.text("admin.vm.feature.Set", "prohibit-start", "work", b"because");
    let refused = site.raw(b"admin.vm.Start dom0 name work\0");
    assert_eq!(refused, b"2\0QubesException\0\0Qube start is prohibited. Rationale: because\0");
}

#[test]
fn system_info_follows_every_change() {
    let site = Site::new();
    let info = || {
        let answer =
            exchange(&site.layout.qubesd_internal_socket(), b"internal.GetSystemInfo+ dom0 name dom0\0");
        policy::SystemInfo::from_json(answer.strip_prefix(b"0\0").unwrap()).unwrap()
    };
    assert_eq!(info().get("work").unwrap().default_dispvm.as_deref(), Some("default-dvm"));
    assert_eq!(info().get("work").unwrap().power_state, "Halted");
    site.text("admin.vm.property.Set", "default_dispvm", "work", b"");
    assert_eq!(info().get("work").unwrap().default_dispvm, None);
    site.text("admin.vm.tag.Set", "x", "work", b"");
    assert!(info().get("work").unwrap().has_tag("x"));
    site.text("admin.vm.feature.Set", "internal", "work", b"1");
    assert!(info().get("work").unwrap().is_internal());
    let name = site.text("admin.vm.CreateDisposable", "", "default-dvm", b"");
    assert_eq!(info().get(&name).unwrap().class, "DispVM");
    let json = admin::Client::new(site.layout.qubesd_internal_socket()).system_info_json().unwrap();
    assert_eq!(policy::SystemInfo::from_json(&json).unwrap(), info());
}

#[test]
fn events_reach_those_who_follow() {
    let site = Site::new();
    let mut all = site.admin().events().unwrap();
    assert_eq!(all.next().unwrap().unwrap().name, "connection-established");
    let mut narrow = os::socket::connect(&site.layout.qubesd_socket()).unwrap();
    std::io::Write::write_all(&mut narrow, b"admin.Events dom0 name vault\0").unwrap();
    narrow.shutdown(std::net::Shutdown::Write).unwrap();
    let mut decoder = admin::protocol::EventDecoder::default();
    let mut next = || loop {
        if let Some(event) = decoder.next_event().unwrap() {
            return event;
        }
        let mut buffer = [0; 512];
        let length = std::io::Read::read(&mut narrow, &mut buffer).unwrap();
        decoder.push(&buffer[..length]);
    };
    assert_eq!(next().name, "connection-established");
    site.text("admin.vm.feature.Set", "f", "work", b"1");
    site.text("admin.vm.feature.Set", "f", "vault", b"2");
    let names: Vec<String> = (0..4).map(|_| common::short(&all.next().unwrap().unwrap())).collect();
    let expected = ["work", "vault"].map(|qube| {
        ["domain-feature-pre-set:f", "domain-feature-set:f"].map(|event| format!("{qube} {event}"))
    });
    assert_eq!(names, expected.concat());
    let event = next();
    assert_eq!((event.subject.as_str(), event.value("value")), ("vault", Some("2")));
    assert!(site.raw(b"admin.Events work name dom0\0").starts_with(b"2\0PermissionDenied\0"));
}
