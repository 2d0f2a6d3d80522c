//! How long things take here: `cargo test --release -p hypervisor times -- --ignored --nocapture`.

use crate::world::{WAYS, World, id};
use hypervisor::Hypervisor;
use std::time::Instant;

#[test]
#[ignore = "prints numbers, decides nothing"]
fn times_of_create_pause_unpause_destroy() {
    println!("fastest / median / slowest of 40, microseconds");
    for way in WAYS {
        let world = World::new();
        let mut columns: [Vec<u128>; 5] = Default::default();
        for _ in 0..40 {
            let spec = world.spec(1, way, "sleep 1000 & sleep 1000");
            let mut time = |column: usize, action: &mut dyn FnMut()| {
                let start = Instant::now();
                action();
                columns[column].push(start.elapsed().as_micros());
            };
            let mut created = None;
            time(0, &mut || created = world.start(&spec));
            let Some(mut created) = created else { break };
            std::thread::sleep(std::time::Duration::from_millis(5));
            time(1, &mut || drop(world.local.info(id(1)).unwrap()));
            time(2, &mut || world.local.pause(id(1)).unwrap());
            time(3, &mut || world.local.unpause(id(1)).unwrap());
            time(4, &mut || world.local.destroy(id(1)).unwrap());
            created.supervisor.wait().unwrap();
        }
        let names = ["create", "info", "pause", "unpause", "destroy"];
        let figures: Vec<String> = names
            .iter()
            .zip(&mut columns)
            .filter_map(|(name, column)| {
                column.sort_unstable();
                Some(format!(
                    "{name} {} / {} / {}",
                    column.first()?,
                    column.get(column.len() / 2)?,
                    column.last()?
                ))
            })
            .collect();
        println!("{way:?}: {}", figures.join(", "));
    }
}
