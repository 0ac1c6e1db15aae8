//! `warpdrive devices`: what can be used on this machine.

use std::process::ExitCode;

use warpdrive_mempool::{DmaMode, Domain};
use warpdrive_pmd::device::{Device, DeviceInfo};
use warpdrive_pmd::engine::rsa::{RsaEngine, RsaOptions, Simd};
use warpdrive_pmd::engine::zip::ZipEngine;
use warpdrive_pmd::engine::{Placement, SoftDevice};
use warpdrive_pmd::port;

/// Lists devices and drivers, RSA with the code that is asked for.
pub fn devices(json: bool, simd: Option<Simd>) -> ExitCode {
    let domain = Domain::new(DmaMode::Sva);
    let options = RsaOptions { simd: simd.unwrap_or_default(), ..RsaOptions::default() };
    let opened: [Result<Box<dyn Device>, _>; 2] = [
        SoftDevice::<RsaEngine>::open_with("soft-rsa", Placement::Inline, &domain, options)
            .map(|d| Box::new(d) as _),
        SoftDevice::<ZipEngine>::open("soft-zip", Placement::Inline, &domain).map(|d| Box::new(d) as _),
    ];
    let mut infos: Vec<DeviceInfo> = Vec::new();
    for device in opened {
        match device {
            Ok(device) => infos.push(device.info()),
            Err(e) => {
                eprintln!("error: {e}");
                return ExitCode::FAILURE;
            }
        }
    }
    if json {
        println!("{}", serde_json::json!({ "devices": infos, "port_drivers": port::DRIVERS }));
        return ExitCode::SUCCESS;
    }
    println!("{:<10} {:<9} {:>5}  implementation", "device", "kind", "batch");
    for i in &infos {
        let kind = if i.hardware { "hardware" } else { "software" };
        println!("{:<10} {kind:<9} {:>5}  {}", i.driver, i.batch, i.implementation);
        println!("{:<10} {:<9} {:>5}  {}", "", "", "", i.algorithms.join(" "));
    }
    println!("\nport drivers: {}", port::DRIVERS.join(" "));
    ExitCode::SUCCESS
}
