//! The clients as markers for rviz: a body and a label each, on a grid, coloured by state.

use r2r::{
    geometry_msgs::msg::{Point, Pose, Quaternion, Vector3},
    std_msgs::msg::{ColorRGBA, Header},
    visualization_msgs::msg::{Marker, MarkerArray},
};

use super::convert;
use crate::{
    model::ClientKind,
    status::{ClientState, ClientStatus},
};

/// Distance between neighbours on the grid [m]: labels of usual length do not touch.
const SPACING: f64 = 1.5;
/// Diameter of a body [m].
const SIZE: f64 = 0.6;
/// Height of the letters [m].
const LETTERS: f64 = 0.2;
/// Bodies and labels, so that rviz can hide either.
const BODIES: &str = "clients";
const LABELS: &str = "labels";

/// Markers of `clients`, which are ordered by id. The position in that order is the id of a marker; `shown_before` is
/// how many clients the last array had, so that those that are gone are deleted.
pub(super) fn of_clients(clients: &[ClientStatus], frame_id: &str, shown_before: usize) -> MarkerArray {
    let columns = (clients.len() as f64).sqrt().ceil().max(1.0) as usize;
    let mut markers = Vec::with_capacity(2 * clients.len().max(shown_before));
    for (index, client) in clients.iter().enumerate() {
        let x = (index % columns) as f64 * SPACING;
        // Rows grow towards the viewer of a map with north up.
        let y = -((index / columns) as f64) * SPACING;
        markers.push(body(client, frame_id, index, x, y));
        markers.push(label(client, frame_id, index, x, y));
    }
    for index in clients.len()..shown_before {
        for namespace in [BODIES, LABELS] {
            markers.push(Marker { action: Marker::DELETE as i32, ..marker(namespace, frame_id, index) });
        }
    }
    MarkerArray { markers }
}

fn body(client: &ClientStatus, frame_id: &str, index: usize, x: f64, y: f64) -> Marker {
    Marker {
        type_: match client.kind {
            ClientKind::Robot => Marker::CYLINDER as i32,
            ClientKind::Operator => Marker::SPHERE as i32,
            ClientKind::Observer => Marker::CUBE as i32,
        },
        pose: pose(x, y, SIZE / 2.0),
        scale: Vector3 { x: SIZE, y: SIZE, z: SIZE },
        color: colour(client.state),
        ..marker(BODIES, frame_id, index)
    }
}

fn label(client: &ClientStatus, frame_id: &str, index: usize, x: f64, y: f64) -> Marker {
    let state = match &client.peer {
        Some(peer) => format!("{} {peer}", client.state.as_str()),
        None => client.state.as_str().to_owned(),
    };
    let name = if client.name.is_empty() || client.name == client.id.as_str() {
        String::new()
    } else {
        format!("{}\n", convert::text(&client.name))
    };
    Marker {
        type_: Marker::TEXT_VIEW_FACING as i32,
        pose: pose(x, y, SIZE + 2.0 * LETTERS),
        scale: Vector3 { x: 0.0, y: 0.0, z: LETTERS },
        color: ColorRGBA { r: 1.0, g: 1.0, b: 1.0, a: 1.0 },
        text: format!("{}\n{name}{state}", client.id),
        ..marker(LABELS, frame_id, index)
    }
}

fn marker(namespace: &str, frame_id: &str, index: usize) -> Marker {
    Marker {
        // No time: valid whenever the frame is.
        header: Header { frame_id: convert::text(frame_id), ..Header::default() },
        ns: namespace.to_owned(),
        id: i32::try_from(index).unwrap_or(i32::MAX),
        action: Marker::ADD as i32,
        ..Marker::default()
    }
}

fn pose(x: f64, y: f64, z: f64) -> Pose {
    Pose { position: Point { x, y, z }, orientation: Quaternion { x: 0.0, y: 0.0, z: 0.0, w: 1.0 } }
}

fn colour(state: ClientState) -> ColorRGBA {
    let (r, g, b) = match state {
        ClientState::Off => (0.5, 0.5, 0.5),
        ClientState::On => (0.1, 0.75, 0.2),
        ClientState::Calling => (1.0, 0.85, 0.0),
        ClientState::InCall => (0.1, 0.4, 1.0),
    };
    ColorRGBA { r, g, b, a: 1.0 }
}

#[cfg(test)]
mod tests {
    use super::{super::convert::tests::a_client, *};

    #[test]
    fn each_client_has_a_body_and_a_label_of_its_state() {
        let clients = [a_client("r1", ClientState::On), a_client("r2", ClientState::InCall)];
        let array = of_clients(&clients, "map", 0);
        assert_eq!(array.markers.len(), 4);
        let places: Vec<_> = array.markers.iter().map(|m| (m.ns.as_str(), m.id, m.header.frame_id.as_str())).collect();
        assert_eq!(places, [("clients", 0, "map"), ("labels", 0, "map"), ("clients", 1, "map"), ("labels", 1, "map")]);
        assert_eq!(array.markers[1].text, "r1\nRobot r1\nON");
        assert_eq!(array.markers[3].text, "r2\nRobot r2\nIN_CALL alice");
        assert_ne!(array.markers[0].color, array.markers[2].color);
        assert_ne!(array.markers[0].pose.position, array.markers[2].pose.position);
        assert!(array.markers.iter().all(|m| m.scale.z > 0.0 && m.color.a > 0.0 && m.pose.orientation.w == 1.0));
    }

    #[test]
    fn those_that_are_gone_are_deleted() {
        let array = of_clients(&[a_client("r1", ClientState::Off)], "map", 3);
        let deleted: Vec<_> =
            array.markers.iter().filter(|m| m.action == Marker::DELETE as i32).map(|m| (m.ns.as_str(), m.id)).collect();
        assert_eq!(deleted, [("clients", 1), ("labels", 1), ("clients", 2), ("labels", 2)]);
    }

    #[test]
    fn a_fleet_is_a_square() {
        let clients: Vec<_> = (0..9).map(|n| a_client(&format!("r{n}"), ClientState::On)).collect();
        let array = of_clients(&clients, "map", 0);
        let corner = &array.markers[16].pose.position;
        assert_eq!((corner.x, corner.y), (2.0 * SPACING, -2.0 * SPACING));
    }
}
